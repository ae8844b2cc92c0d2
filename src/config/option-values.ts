import { isAbsolute, resolve } from 'node:path'

import { OperationError } from '../errors.ts'
import { parseByteRate, parseByteSize } from '../support/byte-size.ts'
import type { HostFacts } from './host-facts.ts'

/** A host and a TCP port to listen on; port 0 picks a free one. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

// less is a slip (a missing unit), not a wish
const MIN_RATE_BYTES = 1024

/** The refusal of a value: `wanted …, found …`. Whoever reads the option puts its name in front. */
export function unfit(wanted: string, found: string): OperationError {
  return new OperationError(
    'CONFIG_INVALID',
    `wanted ${wanted}, found ${found === '' ? 'nothing' : `"${found.slice(0, 200)}"`}`,
    { details: { wanted, found: found.slice(0, 200) } },
  )
}

/** An absolute path; a relative one begins at the working directory, `~/` at home. */
export function parsePath(text: string, { homeDir, workingDir }: HostFacts): string {
  if (text === '' || text.includes('\0')) throw unfit('a path', text)
  if (text === '~' || text.startsWith('~/')) return resolve(homeDir, text.slice(2))
  return isAbsolute(text) ? resolve(text) : resolve(workingDir, text)
}

/** 0 to 65535. */
export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port <= 65_535)) throw unfit('a port from 0 to 65535', text)
  return port
}

/** `127.0.0.1:5151`, `[::1]:5151`, `localhost:5151`, or a port alone for 127.0.0.1. */
export function parseListenAddress(text: string): ListenAddress {
  if (/^\d+$/.test(text)) return { host: '127.0.0.1', port: parsePort(text) }
  const match = /^(?:\[(?<ipv6>[0-9a-f:.]+)\]|(?<host>[a-z0-9.-]+)):(?<port>\d{1,5})$/i.exec(text)
  const host = match?.groups?.['ipv6'] ?? match?.groups?.['host']
  if (host === undefined) throw unfit('an address such as 127.0.0.1:5151', text)
  return { host, port: parsePort(match?.groups?.['port'] ?? '') }
}

/** An address or a host name, without a port. */
export function parseHost(text: string): string {
  const host = text.replace(/^\[(.*)\]$/, '$1')
  if (!/^[a-z0-9.:-]+$/i.test(host)) throw unfit('an address of this host', text)
  return host
}

// distribution-spec, Pulling manifests: a node name is one component of a repository name (`node/<name>/…`)
const NODE_NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
const MAX_NODE_NAME = 64

/** One component of an image name. */
export function parseNodeName(text: string): string {
  if (text.length > MAX_NODE_NAME || !NODE_NAME.test(text)) {
    throw unfit(
      `a name of lower-case letters, digits, ".", "_" and "-", at most ${MAX_NODE_NAME} characters`,
      text,
    )
  }
  return text
}

/** The host name, mended where it would not fit into an image name. */
export function nodeNameOf(hostName: string): string {
  const mended = hostName
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, (gap) => (gap.length === 1 && '._-'.includes(gap) ? gap : '-'))
    .slice(0, MAX_NODE_NAME)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '')
  return mended === '' ? 'node' : mended
}

/** One of a few words. */
export function parseChoice<Choice extends string>(
  text: string,
  choices: readonly Choice[],
): Choice {
  const choice = choices.find((candidate) => candidate === text)
  if (choice === undefined) throw unfit(choices.join(' or '), text)
  return choice
}

/** The parts of a comma-separated list, each once, in order. */
export function parseList(text: string): string[] {
  const parts = text.split(',').map((part) => part.trim())
  return [...new Set(parts.filter((part) => part !== ''))]
}

/** A registry host, with a port where it has one. */
export function parseRegistryHosts(text: string): string[] {
  const hosts = parseList(text)
  for (const host of hosts) {
    if (!/^(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?$/i.test(host)) {
      throw unfit('a registry such as 10.0.0.5:5000', host)
    }
  }
  return hosts.map((host) => host.toLowerCase())
}

/** `unix:///run/docker.sock` (or the path alone), `tcp://host:port`, `http(s)://…`, `none`, or `auto`. */
export function parseDockerHost(text: string): string {
  if (text === 'none' || text === 'auto') return text
  if (isAbsolute(text)) return `unix://${text}`
  if (/^unix:\/\/\/.+/.test(text)) return text
  if (/^(?:tcp|https?):\/\/(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?\/?$/i.test(text)) return text
  throw unfit('unix:///path, tcp://host:port or none', text)
}

/** Bytes; `none` means without a limit. Nothing works with less than `atLeast`. */
export function parseSizeLimit(text: string, atLeast: number): number | undefined {
  return text === 'none' ? undefined : checkAtLeast(parseByteSize(text), atLeast, text)
}

/** Bytes per second; `none` means without a limit. */
export function parseRateLimit(text: string): number | undefined {
  return text === 'none' ? undefined : checkAtLeast(parseByteRate(text), MIN_RATE_BYTES, text)
}

function checkAtLeast(bytes: number, atLeast: number, text: string): number {
  if (bytes < atLeast) throw unfit(`at least ${atLeast} bytes, or none for no limit`, text)
  if (!Number.isSafeInteger(bytes)) throw unfit('a size that a disk can have', text)
  return bytes
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** Milliseconds of `500ms`, `30s`, `10m`, `12h`, `7d` or `0`. */
export function parseDuration(text: string): number {
  const match = /^(\d{1,6})(ms|s|m|h|d)$/.exec(text)
  const unit = DURATION_UNITS[match?.[2] ?? '']
  if (text === '0') return 0
  if (!match || unit === undefined) throw unfit('a duration such as 30s, 10m or 12h', text)
  return Number(match[1]) * unit
}

/** How long an answer of upstream about matching names is taken as fresh. */
export interface TagFreshness {
  /** of `registry/repository:tag`; `*` stands for anything, slashes too */
  readonly pattern: string
  readonly ms: number
}

/** `ghcr.io/acme/*=10m,*:latest=0`: the first pattern that matches counts. */
export function parseTagFreshness(text: string): TagFreshness[] {
  return parseList(text).map((rule) => {
    const [pattern = '', duration] = rule.split('=')
    if (duration === undefined || !/^[a-zA-Z0-9._:/*@-]+$/.test(pattern)) {
      throw unfit('rules such as ghcr.io/acme/*=10m', rule)
    }
    return { pattern, ms: parseDuration(duration) }
  })
}

/** A path, or `none`. */
export function parsePathOrNone(text: string, host: HostFacts): string | undefined {
  return text === 'none' ? undefined : parsePath(text, host)
}
