import ipaddr from 'ipaddr.js'

/**
 * Where an address leads: to the Internet, to a network of its owner (RFC 1918, RFC 4193, RFC 6598), or to what
 * trusts its neighbours: this host, its link, a group, the metadata service of a cloud.
 */
export type AddressClass = 'public' | 'private' | 'local'

/** Metadata services outside of the link-local networks: AWS and GCP over IPv6, Alibaba, Oracle, Azure. */
const METADATA_ADDRESSES: ReadonlySet<string> = new Set([
  'fd00:ec2::254',
  'fd20:ce::254',
  '100.100.100.200',
  '192.0.0.192',
  '168.63.129.16',
])

const LOCAL_RANGES: ReadonlySet<string> = new Set([
  'unspecified',
  'loopback',
  'linkLocal',
  'deprecatedSiteLocal',
  'multicast',
  'broadcast',
])

/** @param address an IP address as text; what is none is `local`, which is refused */
export function classifyAddress(address: string): AddressClass {
  if (!ipaddr.isValid(address)) return 'local'
  const parsed = ipaddr.process(address.replace(/%.*$/, ''))
  if (METADATA_ADDRESSES.has(parsed.toString())) return 'local'
  const range = parsed.range()
  if (LOCAL_RANGES.has(range)) return 'local'
  const embedded = parsed instanceof ipaddr.IPv6 ? embeddedIPv4(parsed) : undefined
  if (embedded !== undefined) return classifyAddress(embedded) === 'local' ? 'local' : 'private'
  return range === 'unicast' ? 'public' : 'private'
}

/** The IPv4 address that a gateway makes of an IPv6 one: RFC 6052, RFC 6145, RFC 3056, and `::a.b.c.d`. */
function embeddedIPv4(address: ipaddr.IPv6): string | undefined {
  const bytes = address.toByteArray()
  const range = address.range()
  if (range === '6to4') return bytes.slice(2, 6).join('.')
  const isMapped = range === 'rfc6052' || range === 'rfc6145'
  const isCompatible = bytes.slice(0, 12).every((byte) => byte === 0)
  return isMapped || isCompatible ? bytes.slice(12).join('.') : undefined
}
