import { constants } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  connect,
  createSecureContext,
  TLSSocket,
  type SecureContextOptions,
  type TlsOptions,
  type TLSSocketOptions,
} from 'node:tls'

import { OperationError } from '../errors.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import { introduce, meet } from './channel-identity.ts'
import type { ChannelSecret } from './channel-secret.ts'

interface SecureChannelOptions {
  readonly secret: ChannelSecret
  readonly identity: NodeIdentity
  /** whether this node has to do with a member, by its node id; with all of them by default */
  readonly isWelcome?: (nodeId: string) => boolean
  /** the key of a ticket, by its id: who has one may connect too, as a guest */
  readonly ticketKey?: (id: string) => Buffer | undefined
}

interface Address {
  readonly host: string
  readonly port: number
}

// From the first byte to both proofs; a busy machine needs milliseconds.
const PROOF_MS = 5000

const CONTEXT: SecureContextOptions = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  // an external key is tied to one hash (RFC 8446, 4.2.11): SHA-256, so this suite
  ciphers: 'TLS_AES_128_GCM_SHA256',
  // no authority counts: a server that would rather show a certificate is a stranger
  ca: [],
  // nobody comes back by what an earlier connection gave him
  secureOptions: constants.SSL_OP_NO_TICKET,
}

/**
 * TLS 1.3 between the members of a closed swarm. Both ends prove the swarm key by the handshake itself, as an external
 * pre-shared key (RFC 8446, 2.2; RFC 9257), and a key exchange on top makes the keys of every connection its own: what
 * was recorded says nothing, even to who learns the swarm key later. A handshake takes no certificate. Then each says
 * which member it is, and proves that too: all members know the swarm key.
 */
export class SecureChannel {
  readonly #options: SecureChannelOptions
  readonly #context = createSecureContext(CONTEXT)
  readonly #members = new WeakMap<Socket, string>()
  readonly #guests = new WeakMap<Socket, string>()

  constructor(options: SecureChannelOptions) {
    this.#options = options
  }

  /** The other side of a connection that came in. @param onOpen called when it has proven the key, and who it is */
  accept(socket: Socket, onOpen: (secure: Socket) => void): void {
    const { secret, ticketKey } = this.#options
    let ticketId: string | undefined
    const options: TLSSocketOptions & Pick<TlsOptions, 'pskCallback'> = {
      isServer: true,
      secureContext: this.#context,
      pskCallback: (_, name) => {
        if (secret.isName(name)) return secret.key
        ticketId = name
        return ticketKey?.(name) ?? null
      },
    }
    const secure = new TLSSocket(socket, options)
    secure.on('error', () => socket.destroy())
    secure.once('secure', () => {
      this.#meet(secure, 'client', (nodeId) => {
        if (ticketId === undefined) this.#members.set(secure, nodeId)
        else this.#guests.set(secure, ticketId)
        onOpen(secure)
      })
    })
  }

  /**
   * Connects to a member. Nothing may be written before `onReady`.
   * @param onReady called when the other side has proven the key, and who it is; with an error where it does not
   */
  dial({ host, port }: Address, onReady: (error?: Error) => void): Socket {
    const { secret } = this.#options
    const socket = connect({
      host,
      port,
      secureContext: this.#context,
      pskCallback: () => ({ identity: secret.makeName(), psk: secret.key }),
    })
    let isSettled = false
    const settle = (error?: Error) => {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      onReady(error)
    }
    const timer = setTimeout(() => socket.destroy(notAMember(`${host}:${port}`)), PROOF_MS)
    socket.setNoDelay(true)
    socket.once('error', settle)
    socket.once('close', () => settle(notAMember(`${host}:${port}`)))
    socket.once('secureConnect', () => {
      if (socket.isSessionReused())
        this.#meet(socket, 'server', (nodeId) => {
          this.#members.set(socket, nodeId)
          settle()
        })
      else socket.destroy(notAMember(`${host}:${port}`))
    })
    return socket
  }

  /** The node id of the member at the other end, which it has proven; undefined for other sockets. */
  memberAt(socket: Socket): string | undefined {
    return this.#members.get(socket)
  }

  /** The id of the ticket of a guest at the other end; undefined for members. */
  guestAt(socket: Socket): string | undefined {
    return this.#guests.get(socket)
  }

  #meet(socket: TLSSocket, other: 'client' | 'server', onMet: (nodeId: string) => void): void {
    const { identity, isWelcome } = this.#options
    introduce(socket, other === 'client' ? 'server' : 'client', identity)
    meet(socket, other, (known) => {
      if (typeof known !== 'string') socket.destroy(known)
      else if (isWelcome?.(known) === false) socket.destroy(unwelcome(known))
      else onMet(known)
    })
  }
}

function unwelcome(nodeId: string): OperationError {
  return new OperationError(
    'NODE_UNREACHABLE',
    `node ${nodeId.slice(0, 16)}: this node has nothing to do with it for now`,
  )
}

function notAMember(address: string): OperationError {
  return new OperationError(
    'NODE_UNREACHABLE',
    `node at ${address}: it does not prove the swarm key`,
  )
}
