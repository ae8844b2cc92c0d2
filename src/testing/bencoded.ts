/** For tests: bencode (BEP 3) of anything, also of what no sane client would say. Keys are sorted. */
export function bencoded(value: unknown): Buffer {
  if (typeof value === 'number') return Buffer.from(`i${value}e`)
  if (typeof value === 'string') return bencoded(Buffer.from(value, 'latin1'))
  if (value instanceof Uint8Array) return Buffer.concat([Buffer.from(`${value.length}:`), value])
  if (Array.isArray(value)) return wrapped('l', value.map(bencoded))
  if (typeof value !== 'object' || value === null) throw new TypeError('not to be bencoded')
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
  return wrapped(
    'd',
    fields.flatMap(([key, field]) => [bencoded(key), bencoded(field)]),
  )
}

function wrapped(kind: 'd' | 'l', parts: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(kind), ...parts, Buffer.from('e')])
}
