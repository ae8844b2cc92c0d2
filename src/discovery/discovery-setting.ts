import { isIPv4, isIPv6 } from 'node:net'

import { OperationError } from '../errors.ts'
import type { PeerAddress } from './discovery.ts'

/** One way in which a node finds others; the option `--discovery` is a list of them. */
export type DiscoverySetting =
  | { readonly kind: 'lan' | 'none' }
  /** by the well-known routers, or by this one */
  | { readonly kind: 'mainline'; readonly router?: PeerAddress }
  | { readonly kind: 'bootstrap' | 'static'; readonly address: PeerAddress }
  | { readonly kind: 'dns'; readonly name: string; readonly port: number }

const DEFAULT_PEER_PORT = 6881
const MAX_SETTINGS = 256
const WANTED =
  'lan, mainline, mainline:host:port, none, bootstrap:host:port, static:host:port or dns:name[:port] (IPv6 in brackets)'
// RFC 1123, section 2.1; underscores because container networks use them in service names
const HOST_LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i
const MAX_HOST_LENGTH = 253

/**
 * Reads the list of `--discovery`. Repetitions are dropped; `none` stands alone: the node asks nobody
 * by itself, and still answers those that ask it.
 * @param list the words, or one text with commas between them
 * @throws OperationError CONFIG_INVALID
 */
export function parseDiscovery(list: readonly string[] | string): DiscoverySetting[] {
  const words = (typeof list === 'string' ? list.split(',') : list).map((word) => word.trim())
  if (words.length === 0) throw invalid('')
  if (words.length > MAX_SETTINGS) {
    throw new OperationError(
      'CONFIG_INVALID',
      `discovery: wanted at most ${MAX_SETTINGS} entries, found ${words.length}`,
    )
  }
  const settings = [...new Set(words)].map(parseSetting)
  if (settings.length > 1 && settings.some(({ kind }) => kind === 'none')) {
    throw new OperationError(
      'CONFIG_INVALID',
      `discovery: wanted none alone, found "${words.join(',')}"`,
    )
  }
  return settings
}

function parseSetting(word: string): DiscoverySetting {
  const colon = word.indexOf(':')
  const kind = colon < 0 ? word : word.slice(0, colon)
  const rest = colon < 0 ? undefined : word.slice(colon + 1)
  switch (kind) {
    case 'lan':
    case 'none':
      if (rest === undefined) return { kind }
      break
    case 'mainline': {
      if (rest === undefined) return { kind }
      const router = parseAddress(rest)
      if (router) return { kind, router }
      break
    }
    case 'bootstrap':
    case 'static': {
      const address = parseAddress(rest ?? '')
      if (address) return { kind, address }
      break
    }
    case 'dns': {
      const address = parseAddress(rest ?? '', DEFAULT_PEER_PORT)
      if (address) return { kind, name: address.host, port: address.port }
      break
    }
  }
  throw invalid(word)
}

/** `host:port` or `[IPv6]:port`; without a port only if there is a default. */
function parseAddress(text: string, defaultPort?: number): PeerAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text)
  if (!match) return undefined
  const [, bracketed, plain, digits] = match
  const port = digits === undefined ? defaultPort : Number(digits)
  if (port === undefined || port < 1 || port > 65535) return undefined
  if (bracketed !== undefined) return isIPv6(bracketed) ? { host: bracketed, port } : undefined
  return plain !== undefined && isHost(plain) ? { host: plain, port } : undefined
}

function isHost(text: string): boolean {
  if (isIPv4(text)) return true
  // Numbers and dots that are no IPv4 address are a typing mistake, not a name.
  if (text.length > MAX_HOST_LENGTH || /^[\d.]+$/.test(text)) return false
  return text
    .replace(/\.$/, '')
    .split('.')
    .every((label) => HOST_LABEL.test(label))
}

function invalid(word: string): OperationError {
  return new OperationError('CONFIG_INVALID', `discovery: wanted ${WANTED}, found "${word}"`, {
    details: { wanted: WANTED, found: word },
  })
}
