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

import { LRUCache } from 'lru-cache'

import { OperationError, systemCodeOf } from '../errors.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { Admission } from '../membership/swarm-keys.ts'
import { connectOptions, type SeveralHosts } from '../support/several-hosts.ts'
import { introduce, meet } from './channel-identity.ts'
import type { ChannelSecret, ChannelSecrets } from './channel-secret.ts'

interface SecureChannelOptions {
  readonly secrets: ChannelSecrets
  readonly identity: NodeIdentity
  /** what a node that knows this key may do; everything by default */
  readonly admissionOf?: (nodeId: string, swarmKey: SwarmKey) => Admission
  /** whether this node has to do with a member, by its node id; with all of them by default */
  readonly isWelcome?: (nodeId: string) => boolean
  /** the key of a ticket, by its id: who has one may connect too, as a guest */
  readonly ticketKey?: (id: string) => Buffer | undefined
}

interface Address extends SeveralHosts {
  /** who is expected there: the address at which it answered last is tried first */
  readonly nodeId?: string
}

/** Who is at the other end of an open connection, as it has proven. */
export interface ProvenMember {
  readonly nodeId: string
  /** which of the keys it knows */
  readonly swarmKey: SwarmKey | undefined
  readonly admission: Admission
}

// Which keys a node does not have is remembered this long: it may be told of them meanwhile.
const REFUSED_MS = 5000
const MAX_REFUSALS = 1000

const MAX_REMEMBERED = 5000
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
  readonly #members = new Map<Socket, ProvenMember>()
  readonly #guests = new WeakMap<Socket, string>()
  /** by node id, for those with several addresses */
  readonly #reached = new LRUCache<string, string>({ max: MAX_REMEMBERED })
  readonly #refusedAt = new LRUCache<string, ChannelSecret[]>({
    max: MAX_REFUSALS,
    ttl: REFUSED_MS,
  })

  constructor(options: SecureChannelOptions) {
    this.#options = options
  }

  /** The other side of a connection that came in. @param onOpen called when it has proven the key, and who it is */
  accept(socket: Socket, onOpen: (secure: Socket) => void): void {
    const { secrets, ticketKey } = this.#options
    let secret: ChannelSecret | undefined
    let ticketId: string | undefined
    const options: TLSSocketOptions & Pick<TlsOptions, 'pskCallback'> = {
      isServer: true,
      secureContext: this.#context,
      pskCallback: (_, name) => {
        secret = secrets.toAccept().find((each) => each.isName(name))
        if (secret) return secret.key
        ticketId = name
        return ticketKey?.(name) ?? null
      },
    }
    const secure = new TLSSocket(socket, options)
    secure.on('error', () => socket.destroy())
    secure.once('secure', () => {
      this.#meet(secure, { other: 'client', swarmKey: secret?.swarmKey }, (member) => {
        // Nobody who is not welcome learns who this is.
        introduce(secure, 'server', this.#options.identity)
        if (ticketId === undefined) this.#remember(secure, member)
        else this.#guests.set(secure, ticketId)
        onOpen(secure)
      })
    })
  }

  /**
   * Connects to a member, with the newest key that it has not refused a moment ago. Nothing may be written before
   * `onReady`.
   * @param onReady called when the other side has proven the key, and who it is; with an error where it does not
   */
  dial(peer: Address, onReady: (error?: Error) => void): Socket {
    const address = `${peer.host}:${peer.port}`
    const secret = this.#secretFor(address)
    const target = this.#bestFirst(peer)
    const socket = connect({
      ...connectOptions(target),
      secureContext: this.#context,
      pskCallback: () => ({ identity: secret.makeName(), psk: secret.key }),
    })
    let isSettled = false
    const settle = (error?: Error) => {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      if (isRefusal(error)) this.#onRefused(address, secret)
      onReady(error)
    }
    const timer = setTimeout(() => socket.destroy(notAMember(address)), PROOF_MS)
    socket.setNoDelay(true)
    socket.once('error', settle)
    socket.once('close', () => settle(notAMember(address)))
    socket.once('secureConnect', () => {
      if (!socket.isSessionReused()) {
        socket.destroy(notAMember(address))
        return
      }
      introduce(socket, 'client', this.#options.identity)
      this.#meet(socket, { other: 'server', swarmKey: secret.swarmKey }, (member) => {
        this.#remember(socket, member)
        if (target.otherHosts.length > 0)
          this.#reached.set(member.nodeId, socket.remoteAddress ?? '')
        settle()
      })
    })
    return socket
  }

  #bestFirst({ host, port, otherHosts = [], nodeId }: Address): Required<SeveralHosts> {
    const reached = nodeId === undefined ? undefined : this.#reached.get(nodeId)
    if (reached === undefined || !otherHosts.includes(reached)) return { host, port, otherHosts }
    return { host: reached, port, otherHosts: [host, ...otherHosts] }
  }

  /**
   * Whether a node that has just refused a key may still take another one: the next `dial` is made with it.
   * @param error what `dial` ended with: where it was no refusal, another key would not help
   */
  hasOtherKeyFor({ host, port }: Address, error: Error): boolean {
    if (!isRefusal(error)) return false
    const refused = this.#refusedAt.get(`${host}:${port}`) ?? []
    const left = this.#options.secrets.toDial().filter((secret) => !refused.includes(secret))
    return refused.length > 0 && left.length > 0
  }

  /** The node id of the member at the other end, which it has proven; undefined for other sockets. */
  memberAt(socket: Socket): string | undefined {
    return this.#members.get(socket)?.nodeId
  }

  /** The swarm key that the member at the other end has proven to know; undefined for other sockets. */
  keyAt(socket: Socket): SwarmKey | undefined {
    return this.#members.get(socket)?.swarmKey
  }

  /** Whether the member at the other end may only ask which key there is now. */
  isOutdated(socket: Socket): boolean {
    return this.#members.get(socket)?.admission === 'outdated'
  }

  /** Ends connections that are open, by who is at the other end. */
  closeWhere(isUnwanted: (member: ProvenMember) => boolean): void {
    for (const [socket, member] of this.#members) if (isUnwanted(member)) socket.destroy()
  }

  /** The id of the ticket of a guest at the other end; undefined for members. */
  guestAt(socket: Socket): string | undefined {
    return this.#guests.get(socket)
  }

  #meet(
    socket: TLSSocket,
    { other, swarmKey }: { other: 'client' | 'server'; swarmKey: SwarmKey | undefined },
    onMet: (member: ProvenMember) => void,
  ): void {
    const { isWelcome, admissionOf } = this.#options
    meet(socket, other, (nodeId) => {
      if (typeof nodeId !== 'string') {
        socket.destroy(nodeId)
        return
      }
      const admission = (swarmKey && admissionOf?.(nodeId, swarmKey)) ?? 'member'
      if (admission === 'refused' || isWelcome?.(nodeId) === false)
        socket.destroy(unwelcome(nodeId))
      else onMet({ nodeId, swarmKey, admission })
    })
  }

  #remember(socket: Socket, member: ProvenMember): void {
    this.#members.set(socket, member)
    // those who are told of the end still ask who it was
    socket.once('close', () => setImmediate(() => this.#members.delete(socket)))
  }

  #secretFor(address: string): ChannelSecret {
    const secrets = this.#options.secrets.toDial()
    const refused = this.#refusedAt.get(address) ?? []
    const secret = secrets.find((each) => !refused.includes(each))
    if (secret) return secret
    this.#refusedAt.delete(address)
    const [newest] = secrets
    if (!newest) throw new TypeError('a channel needs a secret')
    return newest
  }

  #onRefused(address: string, secret: ChannelSecret): void {
    this.#refusedAt.set(address, [...(this.#refusedAt.get(address) ?? []), secret])
  }
}

function isRefusal(error: Error | undefined): boolean {
  return systemCodeOf(error)?.startsWith('ERR_SSL_') === true
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
