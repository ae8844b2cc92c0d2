/**
 * The least that a node can do with what it passes on: hash it, write it to a file, give it to the client. It reads no
 * HTTP, keeps no names, proves nothing and makes nothing durable:
 * `forwarder.ts <listen> <to> <folder> <hash of the whole> [<hash of each piece>]`, both addresses as `host:port`.
 */
import { createHash, type Hash } from 'node:crypto'
import { closeSync, openSync, write } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'

const [listen = '', to = '', folder = '', ofWhole = 'sha256', ofPieces] = process.argv.slice(2)
const PIECE_BYTES = 256 * 1024
const BUFFERS = 4
let connections = 0

createServer(pass).listen(Number(listen.split(':')[1]), listen.split(':')[0], () =>
  process.stdout.write('ready\n'),
)

function pass(client: Socket): void {
  connections += 1
  const file = openSync(join(folder, `forwarded-${listen}-${connections}`), 'w')
  const hashes = new Hashes()
  const buffers = Array.from({ length: BUFFERS }, () => Buffer.allocUnsafeSlow(PIECE_BYTES))
  let [turn, position, waiting] = [0, 0, 0]
  const current = (): Buffer => buffers[turn % BUFFERS] ?? Buffer.alloc(PIECE_BYTES)
  const [host = '', port] = to.split(':')
  const upstream = connect({
    host,
    port: Number(port),
    onread: {
      buffer: current,
      callback: (length) => {
        const bytes = current().subarray(0, length)
        turn += 1
        waiting += 1
        let steps = 2
        const done = (error?: Error | null) => {
          if (error) upstream.destroy(error)
          steps -= 1
          if (steps > 0) return
          waiting -= 1
          upstream.resume()
        }
        hashes.update(bytes)
        write(file, bytes, 0, length, position, done)
        client.write(bytes, done)
        position += length
        // One buffer is always free: the next one to be filled.
        return waiting < BUFFERS - 1
      },
    },
  })
  client.pipe(upstream)
  client.on('error', () => upstream.destroy())
  upstream.on('error', () => client.destroy())
  upstream.on('end', () => client.end())
  client.on('close', () => {
    upstream.destroy()
    closeSync(file)
  })
}

/** Of all that passes, and of each piece of it where that is wanted too. */
class Hashes {
  readonly #whole = createHash(ofWhole)
  #piece: Hash | undefined
  #pieceBytes = 0

  update(bytes: Buffer): void {
    this.#whole.update(bytes)
    if (ofPieces === undefined) return
    this.#piece ??= createHash(ofPieces)
    this.#piece.update(bytes)
    this.#pieceBytes += bytes.length
    if (this.#pieceBytes < PIECE_BYTES) return
    this.#piece.digest()
    this.#piece = undefined
    this.#pieceBytes = 0
  }
}
