import type { AskedSources } from './asked-sources.ts'
import { formatPeerAddress, type PeerAddress } from './discovery.ts'
import type { OwnAddresses } from './own-addresses.ts'
import { MAX_SEALED_BODY_BYTES, type DatagramSeal } from './sealed-datagram.ts'
import type { SourceLimit } from './source-limit.ts'

const ADDRESS_BYTES = 6

/** A KRPC message that fits into one sealed datagram. */
export const MAX_MEMBER_MESSAGE_BYTES = MAX_SEALED_BODY_BYTES - ADDRESS_BYTES

interface MemberEnvelopeOptions {
  readonly seal: DatagramSeal
  readonly asked: AskedSources
  readonly ownAddresses: OwnAddresses
  /** of datagrams that are refused here; whose source has used it up, nothing is opened any more */
  readonly limits: { readonly strangers: SourceLimit; readonly known: SourceLimit }
}

/**
 * Messages between members: sealed, with the address that they are sent to before them. One that was recorded
 * is new to every member but the one who has taken it: by the address the others see that it is not theirs.
 */
export class MemberEnvelope {
  readonly #options: MemberEnvelopeOptions

  constructor(options: MemberEnvelopeOptions) {
    this.#options = options
  }

  seal(message: Uint8Array, to: PeerAddress): Buffer {
    const { seal, ownAddresses } = this.#options
    const body = Buffer.concat([compactAddress(to), message])
    return seal.seal(body, { mayReturn: ownAddresses.has(to) })
  }

  /** Never throws. @returns undefined unless a member has said it now, and to us */
  open(datagram: Buffer, from: PeerAddress): Buffer | undefined {
    const { limit, name } = this.#limitOf(from)
    if (limit.isSpent(name)) return undefined
    const body = this.#options.seal.open(datagram)
    if (body && body.length > ADDRESS_BYTES && this.#isForUs(addressIn(body), from)) {
      return body.subarray(ADDRESS_BYTES)
    }
    limit.take(name)
    return undefined
  }

  /** A flood from an address, also in the name of one, costs it its own share and no other. */
  #limitOf(from: PeerAddress): { limit: SourceLimit; name: string } {
    const { asked, limits } = this.#options
    const source = formatPeerAddress(from)
    const isExpected = asked.isKnown(source) || asked.isAwaited(source)
    return isExpected
      ? { limit: limits.known, name: source }
      : { limit: limits.strangers, name: from.host }
  }

  #isForUs(to: PeerAddress, from: PeerAddress): boolean {
    const { ownAddresses, asked } = this.#options
    if (ownAddresses.has(to)) return true
    return !asked.isKnown(formatPeerAddress(to)) && !ownAddresses.areOnOneNetwork(to, from)
  }
}

/** BEP 5, compact form. */
function compactAddress({ host, port }: PeerAddress): Buffer {
  const compact = Buffer.from([...host.split('.').map(Number), 0, 0])
  compact.writeUInt16BE(port, 4)
  return compact
}

function addressIn(body: Buffer): PeerAddress {
  return { host: body.subarray(0, 4).join('.'), port: body.readUInt16BE(4) }
}
