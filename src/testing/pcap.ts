/**
 * What a packet capture holds (libpcap's file format, Ethernet frames): the frames as they were, the
 * datagrams, and the bytes of each direction of each TCP connection, put together again.
 */

/** Where a packet comes from or goes to. */
export interface Endpoint {
  readonly host: string
  readonly port: number
}

interface Packet {
  readonly from: Endpoint
  readonly to: Endpoint
  readonly payload: Buffer
}

/** One UDP datagram; one in fragments is only in the frames. */
export type Datagram = Packet

/** What one side of a TCP connection has sent. */
export interface TcpStream {
  readonly from: Endpoint
  readonly to: Endpoint
  /** it opened the connection */
  readonly isClient: boolean
  readonly bytes: Buffer
  /** no byte of it is missing in the capture */
  readonly isWhole: boolean
}

/** A whole capture, everything in the order of time. */
export interface Capture {
  readonly frames: readonly Buffer[]
  readonly datagrams: readonly Datagram[]
  readonly streams: readonly TcpStream[]
}

interface Segment extends Packet {
  readonly sequence: number
  readonly isSyn: boolean
  readonly isAck: boolean
}

// pcap-savefile(5): microseconds, in the order of bytes of this machine
const MAGIC = 0xa1b2c3d4
const FILE_HEADER_BYTES = 24
const RECORD_HEADER_BYTES = 16
const ETHERNET = 1
const ETHERNET_HEADER_BYTES = 14
const IPV6_HEADER_BYTES = 40
const UDP_HEADER_BYTES = 8
const TCP = 6
const UDP = 17

/** Reads a capture; a last record that is not whole is left out. @throws TypeError when it is none */
export function readCapture(file: Buffer): Capture {
  const isPcap = file.length >= FILE_HEADER_BYTES && file.readUInt32LE(0) === MAGIC
  if (!isPcap || file.readUInt32LE(20) !== ETHERNET) throw new TypeError('not an Ethernet capture')
  const frames: Buffer[] = []
  const datagrams: Datagram[] = []
  const connections = new TcpConnections()
  for (const frame of framesOf(file)) {
    frames.push(frame)
    const packet = ipPacketOf(frame)
    if (packet?.protocol === UDP) datagrams.push(datagramOf(packet))
    if (packet?.protocol === TCP) connections.add(segmentOf(packet))
  }
  return { frames, datagrams, streams: connections.streams() }
}

function* framesOf(file: Buffer): Generator<Buffer> {
  let at = FILE_HEADER_BYTES
  while (at + RECORD_HEADER_BYTES <= file.length) {
    const capturedBytes = file.readUInt32LE(at + 8)
    const wireBytes = file.readUInt32LE(at + 12)
    if (capturedBytes !== wireBytes) throw new TypeError('a packet was captured in part')
    const start = at + RECORD_HEADER_BYTES
    if (start + capturedBytes > file.length) return
    yield file.subarray(start, start + capturedBytes)
    at = start + capturedBytes
  }
}

interface IpPacket {
  readonly protocol: number
  readonly source: string
  readonly target: string
  readonly content: Buffer
}

function ipPacketOf(frame: Buffer): IpPacket | undefined {
  if (frame.length < ETHERNET_HEADER_BYTES) return undefined
  const packet = frame.subarray(ETHERNET_HEADER_BYTES)
  const etherType = frame.readUInt16BE(12)
  if (etherType === 0x0800) return ipv4Of(packet)
  return etherType === 0x86dd ? ipv6Of(packet) : undefined
}

function ipv4Of(packet: Buffer): IpPacket | undefined {
  const isFragment = (packet.readUInt16BE(6) & 0x3fff) !== 0
  if (isFragment) return undefined
  const headerBytes = ((packet[0] ?? 0) & 15) * 4
  return {
    protocol: packet[9] ?? 0,
    source: formatAddress(packet.subarray(12, 16)),
    target: formatAddress(packet.subarray(16, 20)),
    // The frame may be padded.
    content: packet.subarray(headerBytes, packet.readUInt16BE(2)),
  }
}

function ipv6Of(packet: Buffer): IpPacket {
  return {
    protocol: packet[6] ?? 0,
    source: formatAddress(packet.subarray(8, 24)),
    target: formatAddress(packet.subarray(24, 40)),
    content: packet.subarray(IPV6_HEADER_BYTES, IPV6_HEADER_BYTES + packet.readUInt16BE(4)),
  }
}

/** IPv6 without abbreviations. */
function formatAddress(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.')
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index))
  return groups.map((group) => group.toString(16)).join(':')
}

function endpointsOf({ source, target, content }: IpPacket): { from: Endpoint; to: Endpoint } {
  return {
    from: { host: source, port: content.readUInt16BE(0) },
    to: { host: target, port: content.readUInt16BE(2) },
  }
}

function datagramOf(packet: IpPacket): Datagram {
  return { ...endpointsOf(packet), payload: packet.content.subarray(UDP_HEADER_BYTES) }
}

function segmentOf(packet: IpPacket): Segment {
  const { content } = packet
  const headerBytes = (content.readUInt8(12) >> 4) * 4
  const flags = content.readUInt8(13)
  return {
    ...endpointsOf(packet),
    sequence: content.readUInt32BE(4),
    isSyn: (flags & 2) !== 0,
    isAck: (flags & 16) !== 0,
    payload: content.subarray(headerBytes),
  }
}

/** One direction of a connection, as its segments came. */
interface Direction {
  readonly from: Endpoint
  readonly to: Endpoint
  readonly isClient: boolean
  readonly firstSequence: number
  readonly segments: { offset: number; payload: Buffer }[]
}

class TcpConnections {
  readonly #current = new Map<string, Direction>()
  readonly #all: Direction[] = []

  add(segment: Segment): void {
    const { from, to, sequence, payload, isSyn, isAck } = segment
    const name = `${from.host} ${from.port} ${to.host} ${to.port}`
    const firstSequence = (sequence + 1) >>> 0
    let direction = this.#current.get(name)
    // A port that is used again begins a connection; a SYN that is sent again does not.
    if (isSyn && direction?.firstSequence !== firstSequence) {
      direction = { from, to, isClient: !isAck, firstSequence, segments: [] }
      this.#current.set(name, direction)
      this.#all.push(direction)
    }
    if (!direction || payload.length === 0) return
    const offset = (sequence - direction.firstSequence) | 0
    direction.segments.push({ offset, payload })
  }

  streams(): TcpStream[] {
    return this.#all.map(({ from, to, isClient, segments }) => ({
      from,
      to,
      isClient,
      ...joined(segments),
    }))
  }
}

/** Streams here are shorter than 2 GiB, so that offsets do not wrap. */
function joined(segments: Direction['segments']): Pick<TcpStream, 'bytes' | 'isWhole'> {
  const parts: Buffer[] = []
  let end = 0
  let isWhole = true
  for (const { offset, payload } of segments.toSorted((a, b) => a.offset - b.offset)) {
    if (offset > end) isWhole = false
    // What was sent again is there already.
    const fresh = payload.subarray(Math.max(0, end - offset))
    if (fresh.length === 0) continue
    parts.push(fresh)
    end = offset + payload.length
  }
  return { bytes: Buffer.concat(parts), isWhole }
}
