import type { SeededRandom } from './seeded-random.ts'

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff]

/**
 * These bytes with something wrong about them; what is at the front, where the heads are, more often. For what shows
 * no grammar, such as encrypted traffic (fuzz/mutator.ts knows those of messages).
 */
export function mutatedBytes(original: Buffer, random: SeededRandom): Buffer {
  let bytes: Buffer = Buffer.from(original)
  for (let changes = 1 + random.below(4); changes > 0; changes -= 1) {
    bytes = mutation(bytes, random)
  }
  // Two ways of changing a byte may have undone each other.
  if (bytes.equals(original) && bytes.length > 0) bytes[0] = (bytes[0] ?? 0) ^ 1
  return bytes
}

function mutation(bytes: Buffer, random: SeededRandom): Buffer {
  const at = placeIn(bytes, random)
  const run = 1 + random.below(16)
  switch (random.below(6)) {
    case 0:
      bytes.subarray(at, at + run).fill(random.below(256))
      return bytes
    case 1:
      return bytes.subarray(0, at)
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + run)])
    case 3:
      return Buffer.concat([bytes.subarray(0, at), random.bytes(run), bytes.subarray(at)])
    case 4:
      return Buffer.concat([bytes, bytes.subarray(at, at + 64)])
    default:
      if (at < bytes.length) bytes[at] = changed(bytes[at] ?? 0, random)
      return bytes
  }
}

function changed(byte: number, random: SeededRandom): number {
  return random.below(2) === 0 ? byte ^ (1 << random.below(8)) : random.pick(INTERESTING)
}

function placeIn(bytes: Buffer, random: SeededRandom): number {
  const limit = random.below(2) === 0 ? Math.min(64, bytes.length) : bytes.length
  return random.below(Math.max(1, limit))
}
