/** TLS from outside (RFC 8446): records, and what is in the clear in the first message of a client. */

const RECORD_HEADER_BYTES = 5
const CONTENT_TYPES = new Set([20, 21, 22, 23])
const CLIENT_HELLO = 1
const PRE_SHARED_KEY = 41

/** The records of what one side of a connection has said; a rest that is none is the last one. */
export function recordsOf(stream: Buffer): Buffer[] {
  const records: Buffer[] = []
  let at = 0
  while (at < stream.length) {
    const isWhole = isRecordAt(stream, at)
    const end = isWhole ? at + RECORD_HEADER_BYTES + stream.readUInt16BE(at + 3) : stream.length
    records.push(stream.subarray(at, end))
    at = end
  }
  return records
}

/** Whether these bytes are TLS records and nothing else. */
export function isTls(stream: Buffer): boolean {
  return recordsOf(stream).every((record) => isRecordAt(record, 0))
}

/** The first identity of a pre-shared key that a client names; undefined where it names none. */
export function identityIn(stream: Buffer): string | undefined {
  const hello = recordsOf(stream)[0]?.subarray(RECORD_HEADER_BYTES)
  if (hello?.[0] !== CLIENT_HELLO) return undefined
  let at = 4 + 2 + 32
  at += 1 + hello.readUInt8(at)
  at += 2 + hello.readUInt16BE(at)
  at += 1 + hello.readUInt8(at)
  const end = at + 2 + hello.readUInt16BE(at)
  for (at += 2; at < end; at += 4 + hello.readUInt16BE(at + 2)) {
    if (hello.readUInt16BE(at) !== PRE_SHARED_KEY) continue
    const identityBytes = hello.readUInt16BE(at + 6)
    return hello.toString('latin1', at + 8, at + 8 + identityBytes)
  }
  return undefined
}

// Whatever the version is: an alert may repeat the one that it is about.
function isRecordAt(bytes: Buffer, at: number): boolean {
  return (
    at + RECORD_HEADER_BYTES <= bytes.length &&
    CONTENT_TYPES.has(bytes.readUInt8(at)) &&
    at + RECORD_HEADER_BYTES + bytes.readUInt16BE(at + 3) <= bytes.length
  )
}
