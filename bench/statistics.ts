/** The middle value; the mean of the two middle ones where the number is even. @throws RangeError without values */
export function median(values: readonly number[]): number {
  const sorted = sortedOf(values)
  const middle = sorted.length / 2
  const upper = sorted[Math.floor(middle)] ?? NaN
  const lower = sorted[Math.ceil(middle) - 1] ?? NaN
  return (upper + lower) / 2
}

/** The smallest value that `share` (0 to 1) of all values do not exceed (nearest rank). @throws RangeError */
export function percentile(values: readonly number[], share: number): number {
  const sorted = sortedOf(values)
  const rank = Math.max(1, Math.ceil(share * sorted.length))
  return sorted[rank - 1] ?? NaN
}

function sortedOf(values: readonly number[]): number[] {
  if (values.length === 0) throw new RangeError('wanted at least one value')
  return [...values].sort((a, b) => a - b)
}
