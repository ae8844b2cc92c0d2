import { isIP, type TcpNetConnectOpts } from 'node:net'

/** Who is reached at any of several addresses, on one port. */
export interface SeveralHosts {
  readonly host: string
  readonly port: number
  /** where else; tried in this order, after `host` */
  readonly otherHosts?: readonly string[]
}

/** Addresses that are tried for one connection. */
export const MAX_HOSTS = 4
// RFC 8305, section 5, wants 250 ms; who is once around the world shall get the chance too.
const NEXT_HOST_MS = 350

/**
 * What `connect` of node:net and node:tls need to try one after the other, each when the one before it has failed or
 * been silent for a moment, until one answers: one socket in the end, whichever it was. Names stand for themselves.
 */
export function connectOptions({ host, port, otherHosts = [] }: SeveralHosts): TcpNetConnectOpts {
  const hosts = [...new Set([host, ...otherHosts])].slice(0, MAX_HOSTS)
  const addresses = hosts.map((address) => ({ address, family: isIP(address) }))
  const known = addresses.filter(({ family }) => family !== 0)
  if (isIP(host) === 0 || known.length < 2) return { host, port }
  return {
    // never looked up
    host: 'several.invalid',
    port,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_HOST_MS,
    lookup: (_name, _options, onFound) => onFound(null, known),
  }
}
