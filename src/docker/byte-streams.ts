/** The bytes of a small stream, whole; the caller knows that they are few. */
export async function collectBytes(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  const [only] = chunks
  return chunks.length === 1 && Buffer.isBuffer(only) ? only : Buffer.concat(chunks)
}

/** Bytes that are at hand, as a stream. */
export async function* streamOf(content: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield content
}
