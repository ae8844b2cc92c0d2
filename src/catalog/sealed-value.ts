import { crc32 } from 'node:zlib'

const CHECK_BYTES = 4

/**
 * A value with its check, CRC-32 of key and value. LevelDB is not asked to verify its blocks, and a damaged block
 * may even give a right value under a wrong key.
 */
export function sealValue(key: string, value: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(value))
  const sealed = Buffer.allocUnsafe(CHECK_BYTES + body.length)
  sealed.writeUInt32BE(checkOf(key, body))
  body.copy(sealed, CHECK_BYTES)
  return sealed
}

/** The value, or undefined where it is damaged. */
export function unsealValue(key: string, sealed: Buffer): unknown {
  if (sealed.length < CHECK_BYTES) return undefined
  const body = sealed.subarray(CHECK_BYTES)
  if (sealed.readUInt32BE() !== checkOf(key, body)) return undefined
  return JSON.parse(body.toString())
}

function checkOf(key: string, body: Buffer): number {
  return crc32(body, crc32(key))
}
