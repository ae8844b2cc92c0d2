/**
 * Every option of a node, once. From this table come the flags, the environment names, the keys of config.json,
 * the checks, the help and the README: `peer-port` is `--peer-port`, `DDOCKER_PEER_PORT` and `"peerPort"`.
 */
import { join } from 'node:path'

import { parseDiscovery } from '../discovery/discovery-setting.ts'
import type { HostFacts } from './host-facts.ts'
import {
  nodeNameOf,
  parseChoice,
  parseDockerHost,
  parseDuration,
  parseHost,
  parseList,
  parseListenAddress,
  parseNodeName,
  parsePath,
  parsePathOrNone,
  parsePort,
  parseRateLimit,
  parseRegistryHosts,
  parseSizeLimit,
  parseTagFreshness,
  type ListenAddress,
  type TagFreshness,
} from './option-values.ts'

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug', 'silent'] as const

/** What a node was told, checked. A limit that is undefined does not limit. */
export interface Config {
  /** absolute */
  readonly dataDir: string
  readonly registry: ListenAddress
  /** TCP and UDP; 0 picks */
  readonly peerPort: number
  /** undefined: all interfaces */
  readonly peerHost: string | undefined
  /** one component of an image name */
  readonly nodeName: string
  readonly swarm: 'closed' | 'public'
  /** absolute; undefined: the key of the data directory */
  readonly swarmKeyFile: string | undefined
  /** as written and checked, for parseDiscovery: `lan`, `mainline`, `bootstrap:host:port` …, or `none` alone */
  readonly discovery: readonly string[]
  /** TCP and UDP, for what is published; 0 picks. Nothing is bound while nothing is published */
  readonly publicPort: number
  /** as `discovery`, for what is published */
  readonly publicDiscovery: readonly string[]
  /** `auto` (the usual socket, if there is one), `none`, or a URL */
  readonly dockerHost: string
  /** whether registries may be asked */
  readonly upstream: boolean
  /** registries that speak plain HTTP, lower-case host or host:port */
  readonly insecureUpstreams: readonly string[]
  /** registries at loopback or link-local addresses that may be asked, lower-case host or host:port */
  readonly localUpstreams: readonly string[]
  /** absolute, PEM: authorities that registries are trusted by, besides the usual ones */
  readonly upstreamCaFile: string | undefined
  /** absolute: a config.json of Docker, with what this node logs in to registries by */
  readonly dockerConfigFile: string | undefined
  /** registries to which the Authorization header of a client is passed on, lower-case host or host:port */
  readonly passCredentials: readonly string[]
  /** how long a right to a private repository counts after upstream confirmed it, milliseconds */
  readonly accessLifetimeMs: number
  /** the first pattern that matches counts; without one upstream is asked every time */
  readonly tagFreshness: readonly TagFreshness[]
  /** whether the swarm's records say what a tag means while upstream cannot be reached */
  readonly offlineTags: boolean
  /** the largest blob that a client may push, bytes */
  readonly maxPushBytes: number
  readonly maxDiskBytes: number | undefined
  readonly uploadBytesPerSecond: number | undefined
  readonly downloadBytesPerSecond: number | undefined
  readonly upstreamBytesPerSecond: number | undefined
  readonly logLevel: (typeof LOG_LEVELS)[number]
}

interface OptionDefinition<Value> {
  /** as a flag, without the dashes */
  readonly name: string
  /** what the value looks like in the help, such as `<port>` */
  readonly placeholder: string
  readonly help: string
  /** the default as the help tells it */
  readonly defaultText: string
  /** may be written several times */
  readonly isList?: true
  readonly defaultFor: (host: HostFacts) => Value
  /** @throws OperationError CONFIG_INVALID, without the name of the option */
  readonly parse: (text: string, host: HostFacts) => Value
}

/** One option, whatever it is of: what the help and the loader need to know. */
export type AnyOption = Omit<OptionDefinition<unknown>, 'defaultFor' | 'parse'>

type OptionTable = { readonly [Key in keyof Config]: OptionDefinition<Config[Key]> }

const unlimited = (): undefined => undefined
const MIN_DISK_BYTES = 1024 * 1024

export const OPTIONS: OptionTable = {
  dataDir: {
    name: 'data-dir',
    placeholder: '<dir>',
    help: 'where the node keeps blobs, catalog, keys and its control socket',
    defaultText: '/var/lib/ddocker as root, else $XDG_DATA_HOME/ddocker',
    defaultFor: defaultDataDir,
    parse: parsePath,
  },
  registry: {
    name: 'registry',
    placeholder: '<host:port>',
    help: 'address of the registry that engines pull from, and of the status page; port 0 picks',
    defaultText: '127.0.0.1:5151',
    defaultFor: () => ({ host: '127.0.0.1', port: 5151 }),
    parse: parseListenAddress,
  },
  peerPort: {
    name: 'peer-port',
    placeholder: '<port>',
    help: 'the one port for peers, TCP and UDP; 0 picks',
    defaultText: '6881',
    defaultFor: () => 6881,
    parse: parsePort,
  },
  peerHost: {
    name: 'peer-host',
    placeholder: '<address>',
    help: 'address that peers may reach',
    defaultText: 'all interfaces',
    defaultFor: unlimited,
    parse: parseHost,
  },
  nodeName: {
    name: 'node-name',
    placeholder: '<name>',
    help: 'what others call this node, also in node/<name>/<image>',
    defaultText: 'the host name',
    defaultFor: ({ hostName }) => nodeNameOf(hostName),
    parse: parseNodeName,
  },
  swarm: {
    name: 'swarm',
    placeholder: '<closed|public>',
    help: 'closed: only nodes with the same key; public: everybody, in plain BitTorrent',
    defaultText: 'closed',
    defaultFor: () => 'closed',
    parse: (text) => parseChoice(text, ['closed', 'public']),
  },
  swarmKeyFile: {
    name: 'swarm-key-file',
    placeholder: '<file>',
    help: 'take the swarm key from this file (64 hex digits)',
    defaultText: 'the key in the data directory',
    defaultFor: unlimited,
    parse: parsePath,
  },
  discovery: {
    name: 'discovery',
    placeholder: '<list>',
    help: 'how nodes find each other: lan, mainline, mainline:host:port, bootstrap:host:port, static:host:port, dns:name; or none',
    defaultText: 'lan,mainline',
    isList: true,
    defaultFor: () => ['lan', 'mainline'],
    parse: parseDiscoveryWords,
  },
  publicPort: {
    name: 'public-port',
    placeholder: '<port>',
    help: 'the port for everybody, TCP and UDP, open while an image is published; 0 picks',
    defaultText: '6882',
    defaultFor: () => 6882,
    parse: parsePort,
  },
  publicDiscovery: {
    name: 'public-discovery',
    placeholder: '<list>',
    help: 'how everybody finds what is published, as in --discovery',
    defaultText: 'mainline',
    isList: true,
    defaultFor: () => ['mainline'],
    parse: parseDiscoveryWords,
  },
  dockerHost: {
    name: 'docker-host',
    placeholder: '<url>',
    help: 'the engine on this host: unix:///path, tcp://host:port, or none',
    defaultText: '$DOCKER_HOST, else the usual socket, else none',
    defaultFor: () => 'auto',
    parse: parseDockerHost,
  },
  upstream: {
    name: 'upstream',
    placeholder: '<on|off>',
    help: 'whether registries may be asked for what no peer holds',
    defaultText: 'on',
    defaultFor: () => true,
    parse: (text) => parseChoice(text, ['on', 'off']) === 'on',
  },
  insecureUpstreams: {
    name: 'insecure-upstream',
    placeholder: '<host...>',
    help: 'registries that are asked over plain HTTP',
    defaultText: 'none',
    isList: true,
    defaultFor: () => [],
    parse: parseRegistryHosts,
  },
  localUpstreams: {
    name: 'local-upstream',
    placeholder: '<host...>',
    help: 'registries on this host or at link-local addresses that may be asked',
    defaultText: 'none',
    isList: true,
    defaultFor: () => [],
    parse: parseRegistryHosts,
  },
  upstreamCaFile: {
    name: 'upstream-ca',
    placeholder: '<file>',
    help: 'PEM file of authorities to trust for registries, besides the usual ones',
    defaultText: 'none',
    defaultFor: unlimited,
    parse: parsePathOrNone,
  },
  dockerConfigFile: {
    name: 'docker-config',
    placeholder: '<file>',
    help: "Docker's config.json with the logins of this node, or none",
    defaultText: '$DOCKER_CONFIG/config.json, else ~/.docker/config.json',
    defaultFor: defaultDockerConfig,
    parse: parsePathOrNone,
  },
  passCredentials: {
    name: 'pass-credentials',
    placeholder: '<host...>',
    help: "registries to which a client's own Authorization header is passed on",
    defaultText: 'none',
    isList: true,
    defaultFor: () => [],
    parse: parseRegistryHosts,
  },
  accessLifetimeMs: {
    name: 'access-lifetime',
    placeholder: '<duration>',
    help: 'how long a right to a private repository counts after upstream confirmed it',
    defaultText: '10m',
    defaultFor: () => 600_000,
    parse: parseDuration,
  },
  tagFreshness: {
    name: 'tag-freshness',
    placeholder: '<list>',
    help: 'how long a tag is not asked for again, such as ghcr.io/acme/*=10m',
    defaultText: 'none: upstream is asked every time',
    isList: true,
    defaultFor: () => [],
    parse: parseTagFreshness,
  },
  offlineTags: {
    name: 'offline-tags',
    placeholder: '<on|off>',
    help: "whether the swarm's signed records name images while upstream cannot be reached",
    defaultText: 'on',
    defaultFor: () => true,
    parse: (text) => parseChoice(text, ['on', 'off']) === 'on',
  },
  maxPushBytes: {
    name: 'max-push',
    placeholder: '<size>',
    help: 'the largest blob that may be pushed to the node',
    defaultText: '32GiB',
    defaultFor: () => 32 * 1024 ** 3,
    parse: (text) => parseSizeLimit(text, MIN_DISK_BYTES) ?? Number.MAX_SAFE_INTEGER,
  },
  maxDiskBytes: {
    name: 'max-disk',
    placeholder: '<size>',
    help: 'how much the blobs may take, such as 20GiB',
    defaultText: 'none',
    defaultFor: unlimited,
    parse: (text) => parseSizeLimit(text, MIN_DISK_BYTES),
  },
  uploadBytesPerSecond: {
    name: 'upload-limit',
    placeholder: '<rate>',
    help: 'how much peers may take together, such as 50MiB/s',
    defaultText: 'none',
    defaultFor: unlimited,
    parse: parseRateLimit,
  },
  downloadBytesPerSecond: {
    name: 'download-limit',
    placeholder: '<rate>',
    help: 'how much comes from peers together',
    defaultText: 'none',
    defaultFor: unlimited,
    parse: parseRateLimit,
  },
  upstreamBytesPerSecond: {
    name: 'upstream-limit',
    placeholder: '<rate>',
    help: 'how much comes from registries together',
    defaultText: 'none',
    defaultFor: unlimited,
    parse: parseRateLimit,
  },
  logLevel: {
    name: 'log-level',
    placeholder: '<level>',
    help: `${LOG_LEVELS.join(', ')}; LOG_DEBUG=torrent,discovery shows one room`,
    defaultText: 'info',
    defaultFor: () => 'info',
    parse: (text) => parseChoice(text, LOG_LEVELS),
  },
}

/** The names of all options, as flags without the dashes. */
export const OPTION_KEYS = Object.keys(OPTIONS) as readonly (keyof Config)[]

/** `DDOCKER_PEER_PORT` of `peer-port`. */
export function environmentNameOf({ name }: Pick<AnyOption, 'name'>): string {
  return `DDOCKER_${name.toUpperCase().replaceAll('-', '_')}`
}

/** `peerPort` of `peer-port`: the key in config.json, and where the flag's value is found after parsing. */
export function fileKeyOf({ name }: Pick<AnyOption, 'name'>): string {
  return name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase())
}

function parseDiscoveryWords(text: string): string[] {
  const words = parseList(text)
  parseDiscovery(words)
  return words
}

function defaultDockerConfig({ environment, homeDir }: HostFacts): string {
  const folder = environment['DOCKER_CONFIG']
  return join(folder?.startsWith('/') ? folder : join(homeDir, '.docker'), 'config.json')
}

function defaultDataDir({ environment, homeDir, isRoot }: HostFacts): string {
  if (isRoot) return '/var/lib/ddocker'
  const shared = environment['XDG_DATA_HOME']
  // XDG base directory specification: relative paths are to be ignored
  return join(shared?.startsWith('/') ? shared : join(homeDir, '.local/share'), 'ddocker')
}
