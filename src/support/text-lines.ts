/**
 * The lines of a stream, as text without their line ends; empty ones are left out.
 * @throws RangeError a line is longer than `maxChars`
 */
export async function* readLines(
  source: AsyncIterable<unknown>,
  { maxChars }: { maxChars: number },
): AsyncGenerator<string, void> {
  const decoder = new TextDecoder()
  let pending = ''
  for await (const chunk of source) {
    const [first = '', ...others] = decoder
      .decode(chunk as Uint8Array, { stream: true })
      .split('\n')
    pending += first
    for (const next of others) {
      if (pending.trim() !== '') yield pending.trimEnd()
      pending = next
    }
    if (pending.length > maxChars)
      throw new RangeError(`a line has more than ${maxChars} characters`)
  }
  if (pending.trim() !== '') yield pending.trimEnd()
}
