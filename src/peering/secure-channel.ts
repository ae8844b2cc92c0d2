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
import { deriveKey, type SwarmKey } from '../membership/swarm-key.ts'
import { introduce, meet } from './channel-identity.ts'

interface SecureChannelOptions {
  readonly swarmKey: SwarmKey
  readonly identity: NodeIdentity
  /** whether this node has to do with a member, by its node id; with all of them by default */
  readonly isWelcome?: (nodeId: string) => boolean
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
  readonly #keyName: string
  readonly #psk: Buffer
  readonly #members = new WeakMap<Socket, string>()

  constructor(options: SecureChannelOptions) {
    this.#options = options
    this.#keyName = deriveKey(options.swarmKey, 'dd1/tls-identity\0').toString('hex', 0, 16)
    this.#psk = deriveKey(options.swarmKey, 'dd1/tls\0')
  }

  /** The other side of a connection that came in. @param onOpen called when it has proven the key, and who it is */
  accept(socket: Socket, onOpen: (secure: Socket) => void): void {
    const options: TLSSocketOptions & Pick<TlsOptions, 'pskCallback'> = {
      isServer: true,
      secureContext: this.#context,
      pskCallback: (_, name) => (name === this.#keyName ? this.#psk : null),
    }
    const secure = new TLSSocket(socket, options)
    secure.on('error', () => socket.destroy())
    secure.once('secure', () => this.#meet(secure, 'client', onOpen))
  }

  /**
   * Connects to a member. Nothing may be written before `onReady`.
   * @param onReady called when the other side has proven the key, and who it is; with an error where it does not
   */
  dial({ host, port }: Address, onReady: (error?: Error) => void): Socket {
    const socket = connect({
      host,
      port,
      secureContext: this.#context,
      pskCallback: () => ({ identity: this.#keyName, psk: this.#psk }),
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
      if (socket.isSessionReused()) this.#meet(socket, 'server', () => settle())
      else socket.destroy(notAMember(`${host}:${port}`))
    })
    return socket
  }

  /** The node id of the member at the other end, which it has proven; undefined for other sockets. */
  memberAt(socket: Socket): string | undefined {
    return this.#members.get(socket)
  }

  #meet(socket: TLSSocket, other: 'client' | 'server', onMet: (socket: Socket) => void): void {
    const { identity, isWelcome } = this.#options
    introduce(socket, other === 'client' ? 'server' : 'client', identity)
    meet(socket, other, (known) => {
      if (typeof known !== 'string') socket.destroy(known)
      else if (isWelcome?.(known) === false) socket.destroy(unwelcome(known))
      else {
        this.#members.set(socket, known)
        onMet(socket)
      }
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
