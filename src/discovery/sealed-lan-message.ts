import type { DatagramSeal } from './sealed-datagram.ts'

const PORT_BYTES = 2

/**
 * What a node of a closed swarm tells its neighbours: its port, to members. Others see 220 bytes of noise,
 * other ones each time: no key of the swarm and no cookie that would tell which swarm it is, or that it is
 * the same laptop as in another network. Its address they see.
 */
export function formatSealedLanMessage(port: number, seal: DatagramSeal): Buffer {
  const body = Buffer.alloc(PORT_BYTES)
  body.writeUInt16BE(port)
  return seal.seal(body)
}

/** Never throws. @returns the port; undefined unless another member says it now, for the first time */
export function parseSealedLanMessage(datagram: Buffer, seal: DatagramSeal): number | undefined {
  const body = seal.open(datagram)
  const port = body?.length === PORT_BYTES ? body.readUInt16BE() : 0
  return port === 0 ? undefined : port
}
