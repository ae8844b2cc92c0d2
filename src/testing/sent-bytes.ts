import { Socket as DatagramSocket } from 'node:dgram'
import { Socket } from 'node:net'
import type { MockTracker } from 'node:test'

/** What this process has put into one socket, before any encryption of its own. */
export interface Sent {
  /** the two ports of a TCP connection; undefined for datagrams */
  from: number | undefined
  to: number | undefined
  readonly bytes: Buffer
}

/**
 * Records all that this process sends from now on, whoever sends it: TCP before TLS, and datagrams. What a test
 * itself sends is in it too: tell it by its ports.
 */
export function recordSent(mocks: MockTracker): readonly Sent[] {
  const sent: Sent[] = []
  const write = originalOf(Socket.prototype, 'write')
  mocks.method(Socket.prototype, 'write', function (this: Socket, ...args: unknown[]) {
    const entry: Sent = { from: this.localPort, to: this.remotePort, bytes: bytesOf(args[0]) }
    sent.push(entry)
    // What is written before the connection is there is sent when it is.
    if (this.connecting) {
      this.once('connect', () =>
        Object.assign(entry, { from: this.localPort, to: this.remotePort }),
      )
    }
    return Reflect.apply(write, this, args) as boolean
  })
  const send = originalOf(DatagramSocket.prototype, 'send')
  mocks.method(
    DatagramSocket.prototype,
    'send',
    function (this: DatagramSocket, ...args: unknown[]) {
      const content = args[0]
      const parts = Array.isArray(content) ? content.map(bytesOf) : [bytesOf(content)]
      sent.push({ from: undefined, to: undefined, bytes: Buffer.concat(parts) })
      return Reflect.apply(send, this, args) as undefined
    },
  )
  return sent
}

function originalOf(prototype: object, name: string): (...args: unknown[]) => unknown {
  return Reflect.get(prototype, name) as (...args: unknown[]) => unknown
}

function bytesOf(content: unknown): Buffer {
  if (typeof content === 'string') return Buffer.from(content)
  return content instanceof Uint8Array ? Buffer.from(content) : Buffer.alloc(0)
}
