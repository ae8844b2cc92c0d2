import { createHash } from 'node:crypto'

import { MAX_LEAST_BODY_BYTES, type DatagramSeal } from './sealed-datagram.ts'

const PORT_BYTES = 2
const ADDRESS_BYTES = 8
const MAX_ADDRESSES = Math.floor((MAX_LEAST_BODY_BYTES - PORT_BYTES) / ADDRESS_BYTES)

/** What a node of a closed swarm says of itself on one interface. */
interface LanGreeting {
  readonly port: number
  /** those that the message may come from; more than 23 are left out */
  readonly addresses: readonly string[]
}

/**
 * What a node of a closed swarm tells its neighbours: its port, to members. Others see 220 bytes of noise,
 * other ones each time: no key of the swarm and no cookie that would tell which swarm it is, or that it is
 * the same laptop as in another network. Its address they see. It is in the message too (port ‖ 8 bytes of the
 * SHA-256 of each), so that who says it again from elsewhere is not taken for the node.
 */
export function formatSealedLanMessage(
  { port, addresses }: LanGreeting,
  seal: DatagramSeal,
): Buffer {
  const body = Buffer.alloc(PORT_BYTES)
  body.writeUInt16BE(port)
  return seal.seal(Buffer.concat([body, ...addresses.slice(0, MAX_ADDRESSES).map(fingerprintOf)]))
}

/**
 * Never throws.
 * @param from the address that the datagram came from
 * @returns the port; undefined unless another member says it now, for the first time, and from there
 */
export function parseSealedLanMessage(
  datagram: Buffer,
  { seal, from }: { seal: DatagramSeal; from: string },
): number | undefined {
  const body = seal.open(datagram)
  if (!body || body.length < PORT_BYTES || !addressesIn(body).includes(nameOf(from))) {
    return undefined
  }
  const port = body.readUInt16BE()
  return port === 0 ? undefined : port
}

function addressesIn(body: Buffer): string[] {
  const count = Math.floor((body.length - PORT_BYTES) / ADDRESS_BYTES)
  return Array.from({ length: count }, (_, index) => {
    const start = PORT_BYTES + index * ADDRESS_BYTES
    return body.toString('hex', start, start + ADDRESS_BYTES)
  })
}

function nameOf(address: string): string {
  return fingerprintOf(address).toString('hex')
}

/** The zone of a link-local address is the receiver's own word for the link. */
function fingerprintOf(address: string): Buffer {
  const hash = createHash('sha256').update(address.replace(/%.*$/, ''))
  return hash.digest().subarray(0, ADDRESS_BYTES)
}
