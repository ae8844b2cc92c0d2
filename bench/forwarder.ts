/**
 * The least that a node can do with what it passes on: hash it twice, write it to a file, give it to the client. It
 * reads no HTTP, keeps no names, proves nothing and makes nothing durable: `forwarder.ts <listen> <to> <folder>`, both
 * addresses as `host:port`.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'

const [listen = '', to = '', folder = ''] = process.argv.slice(2)
const PIECE_BYTES = 256 * 1024
const BUFFERS = 4
let connections = 0

createServer((client) => {
  pass(client).catch(() => client.destroy())
}).listen(Number(listen.split(':')[1]), listen.split(':')[0], () => process.stdout.write('ready\n'))

async function pass(client: Socket): Promise<void> {
  connections += 1
  await using file = await open(join(folder, `forwarded-${connections}`), 'w')
  const whole = createHash('sha256')
  const buffers = Array.from({ length: BUFFERS }, () => Buffer.allocUnsafeSlow(PIECE_BYTES))
  let [turn, position, waiting] = [0, 0, 0]
  const current = (): Buffer => buffers[turn % BUFFERS] ?? Buffer.alloc(PIECE_BYTES)
  // One buffer is always free: the next one to be filled.
  const isFull = () => waiting >= BUFFERS - 1
  const passOn = async (bytes: Buffer, offset: number) => {
    await Promise.all([file.write(bytes, 0, bytes.length, offset), sent(client, bytes)])
    waiting -= 1
    if (!isFull()) upstream.resume()
  }
  const [host, port] = to.split(':')
  const upstream = connect({
    host: host ?? '',
    port: Number(port),
    onread: {
      buffer: current,
      callback: (length) => {
        const bytes = current().subarray(0, length)
        turn += 1
        waiting += 1
        whole.update(bytes)
        createHash('sha1').update(bytes).digest()
        passOn(bytes, position).catch((error: unknown) => upstream.destroy(error as Error))
        position += length
        return !isFull()
      },
    },
  })
  client.pipe(upstream)
  client.on('error', () => upstream.destroy())
  upstream.on('error', () => client.destroy())
  upstream.on('end', () => client.end())
  await once(client, 'close')
  upstream.destroy()
}

/** Resolves when the system has taken the bytes. */
async function sent(client: Socket, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve) => client.write(bytes, () => resolve()))
}
