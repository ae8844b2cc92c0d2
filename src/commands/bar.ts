/** A line that fills from the left, in steps of half a character. */
export function drawBar(share: number, width: number): string {
  const halves = Math.round(Math.min(1, Math.max(0, share)) * width * 2)
  const full = Math.floor(halves / 2)
  return `${'━'.repeat(full)}${halves % 2 === 1 ? '╸' : ''}`.padEnd(width, '┄')
}
