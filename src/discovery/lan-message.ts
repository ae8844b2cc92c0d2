import { isIPv6 } from 'node:net'

/** What a node tells its neighbours (BEP 14): where to meet, and on which port. */
export interface LanMessage {
  /** 40 hex digits, lower case */
  readonly infoHashes: readonly string[]
  readonly port: number
  /** tells a node its own messages from those of others */
  readonly cookie: string | undefined
}

const MAX_MESSAGE_BYTES = 1400
const MAX_HEADERS = 64
const MAX_COOKIE_LENGTH = 64
const FIRST_LINE = /^BT-SEARCH \* HTTP\/1\.1$/
const HEADER = /^([A-Za-z][A-Za-z-]{0,31}):[ \t]*([\x20-\x7e]{0,256})$/

/** One message for the multicast group `group:groupPort`. */
export function formatLanMessage(
  { infoHash, port, cookie }: { infoHash: string; port: number; cookie: string },
  { group, groupPort }: { group: string; groupPort: number },
): Buffer {
  const host = isIPv6(group) ? `[${group}]` : group
  const lines = [
    'BT-SEARCH * HTTP/1.1',
    `Host: ${host}:${groupPort}`,
    `Port: ${port}`,
    `Infohash: ${infoHash}`,
    `cookie: ${cookie}`,
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n\r\n`, 'latin1')
}

/** Reads a message of a stranger; undefined unless it is one. Never throws. */
export function parseLanMessage(datagram: Uint8Array): LanMessage | undefined {
  if (datagram.length > MAX_MESSAGE_BYTES) return undefined
  const [first = '', ...lines] = Buffer.from(datagram).toString('latin1').split('\r\n')
  if (!FIRST_LINE.test(first) || lines.length > MAX_HEADERS) return undefined
  const headers = lines.flatMap(parseHeader)
  const infoHashes = headers
    .filter(([name, value]) => name === 'infohash' && /^[0-9a-f]{40}$/i.test(value))
    .map(([, value]) => value.toLowerCase())
  const portText = headers.find(([name]) => name === 'port')?.[1] ?? ''
  const port = /^\d{1,5}$/.test(portText) ? Number(portText) : 0
  if (infoHashes.length === 0 || port < 1 || port > 65535) return undefined
  const cookie = headers.find(([name]) => name === 'cookie')?.[1]
  return { infoHashes, port, cookie: cookie?.slice(0, MAX_COOKIE_LENGTH) }
}

function parseHeader(line: string): [name: string, value: string][] {
  const [, name, value] = HEADER.exec(line) ?? []
  return name === undefined || value === undefined ? [] : [[name.toLowerCase(), value.trim()]]
}
