import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

import type { JoinTicket } from '../membership/invite.ts'
import { deriveKey, type SwarmKey } from '../membership/swarm-key.ts'
import { PerSwarmKey, type SwarmKeys } from '../membership/swarm-keys.ts'
import { channelKeyOf } from '../membership/ticket-book.ts'

/** One thing that both ends of a channel know before they meet. */
export interface ChannelSecret {
  /** the pre-shared key */
  readonly key: Buffer
  /** what it is made from; undefined for a ticket */
  readonly swarmKey?: SwarmKey
  /** A name for it, for the first message of a handshake, which everybody can read. */
  makeName(): string
  /** Whether a name that came is one for it. */
  isName(name: string): boolean
}

/** What a node can prove, and what it lets others prove, now. */
export interface ChannelSecrets {
  /** in the order in which they are tried; one at least */
  toDial(): readonly ChannelSecret[]
  toAccept(): readonly ChannelSecret[]
}

const NONCE_BYTES = 8
const NAME_PATTERN = /^[0-9a-f]{32}$/

/** What members of a swarm know, while its keys change. */
export function memberSecrets(keys: SwarmKeys): ChannelSecrets {
  const secrets = new PerSwarmKey(memberSecret)
  return {
    toDial: () => keys.accepted.map((key) => secrets.of(key)),
    toAccept: () => keys.known.map((key) => secrets.of(key)),
  }
}

/** Each name is another one: who listens cannot tell swarms apart by them. */
function memberSecret(swarmKey: SwarmKey): ChannelSecret {
  const nameKey = deriveKey(swarmKey, 'dd1/tls-name\0')
  const markOf = (nonce: Uint8Array) =>
    createHmac('sha256', nameKey).update(nonce).digest().subarray(0, NONCE_BYTES)
  return {
    key: deriveKey(swarmKey, 'dd1/tls\0'),
    swarmKey,
    makeName: () => {
      const nonce = randomBytes(NONCE_BYTES)
      return Buffer.concat([nonce, markOf(nonce)]).toString('hex')
    },
    isName: (name) => {
      const bytes = Buffer.from(NAME_PATTERN.test(name) ? name : '0'.repeat(32), 'hex')
      return timingSafeEqual(bytes.subarray(NONCE_BYTES), markOf(bytes.subarray(0, NONCE_BYTES)))
    },
  }
}

/** What a guest and the member behind its ticket know; the member looks the ticket up by its id. */
export function guestSecrets({ id, secret }: JoinTicket): ChannelSecrets {
  const guest = { key: channelKeyOf(secret), makeName: () => id, isName: () => false }
  return { toDial: () => [guest], toAccept: () => [] }
}
