/**
 * Many clients of one node, in a process of their own: all ask for the same blob at once, on a connection each.
 *
 *   node crowd-client.ts '{"door":"127.0.0.1:5151","path":"/v2/…","count":1000,"file":"/path/of/the/right/bytes"}'
 *
 * It prints one line of JSON, {@link CrowdReport}.
 */
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'

/** What the program is told. */
export interface CrowdOrder {
  /** `host:port` */
  readonly door: string
  readonly path: string
  readonly count: number
  /** holds the right bytes: comparing costs less than hashing a thousand times */
  readonly file: string
}

/** What came of it. */
export interface CrowdReport {
  /** clients with status 200 and exactly the right bytes */
  readonly right: number
  /** what the others met, a line each, the first ten */
  readonly wrong: readonly string[]
  /** from the first request to the last byte of all */
  readonly ms: number
}

const BUFFER_BYTES = 64 * 1024
const HEAD_END = '\r\n\r\n'

/** Reads one answer and compares it as it comes. */
function readAndCompare(order: CrowdOrder, expected: Buffer): Promise<string | undefined> {
  const [host = '', port] = order.door.split(':')
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  let head = ''
  let isInBody = false
  let found = 0
  let fault: string | undefined
  const compare = (bytes: Buffer): void => {
    if (!expected.subarray(found, found + bytes.length).equals(bytes)) fault ??= `wrong at ${found}`
    found += bytes.length
  }
  const onBytes = (bytes: Buffer): void => {
    if (isInBody) {
      compare(bytes)
      return
    }
    const before = head.length
    head += bytes.toString('latin1')
    const end = head.indexOf(HEAD_END)
    if (end < 0) return
    isInBody = true
    if (!head.startsWith('HTTP/1.1 200 ')) fault = head.slice(0, head.indexOf('\r\n'))
    compare(Buffer.from(bytes.subarray(end + HEAD_END.length - before)))
  }
  const socket = connect({
    host,
    port: Number(port),
    onread: {
      buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES),
      callback: (length, buffer) => {
        onBytes(Buffer.from(buffer.buffer, buffer.byteOffset, length))
        return true
      },
    },
  })
  socket.once('error', (error) => (fault ??= error.message))
  socket.once('close', () =>
    resolve(fault ?? (found === expected.length ? undefined : `ended after ${found} bytes`)),
  )
  socket.write(`GET ${order.path} HTTP/1.1\r\nHost: ${order.door}\r\nConnection: close\r\n\r\n`)
  return promise
}

if (import.meta.main) {
  const order = JSON.parse(process.argv[2] ?? '') as CrowdOrder
  const expected = await readFile(order.file)
  const startedMs = performance.now()
  const faults = await Promise.all(
    Array.from({ length: order.count }, () => readAndCompare(order, expected)),
  )
  const wrong = faults.filter((fault) => fault !== undefined)
  const report: CrowdReport = {
    right: order.count - wrong.length,
    wrong: wrong.slice(0, 10),
    ms: performance.now() - startedMs,
  }
  process.stdout.write(`${JSON.stringify(report)}\n`)
}
