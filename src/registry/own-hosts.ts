import type { Socket } from 'node:net'

const LOOPBACK_NAMES: readonly string[] = ['127.0.0.1', 'localhost', '[::1]']
const HOST = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::(\d{1,5}))?$/
const HTTP_PORT = 80

/** The names under which this node is reached. */
export class OwnHosts {
  readonly #names: ReadonlySet<string>

  /** @param further `name`, with the port it is bound to, or `name:port` where another port leads here */
  constructor(further: readonly string[] = []) {
    this.#names = new Set([...LOOPBACK_NAMES, ...further.map((name) => name.toLowerCase())])
  }

  /**
   * Whether a Host header means this node, on the address and port that `socket` was accepted on. An address
   * literal that was really connected to needs no listing: only a name can be made to lead elsewhere.
   */
  has(host: string | undefined, socket: Socket): boolean {
    const [, name, port = HTTP_PORT] = HOST.exec(host?.toLowerCase() ?? '') ?? []
    if (name === undefined) return false
    if (this.#names.has(`${name}:${port}`)) return true
    const isHere = Number(port) === socket.localPort
    return isHere && (this.#names.has(name) || name === literalOf(socket.localAddress))
  }
}

function literalOf(address: string | undefined): string | undefined {
  const plain = address?.replace(/^::ffff:(?=\d+\.)/, '')
  return plain?.includes(':') ? `[${plain}]` : plain
}
