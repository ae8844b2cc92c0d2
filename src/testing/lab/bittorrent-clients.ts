/**
 * BitTorrent clients of other authors: what they fetch from a node, and what a node fetches from
 * them, shows that the wire is BitTorrent. Each is told the peers or the one DHT node to start from.
 * `peers` is what is quick; measured with 8 MiB: libtorrent 1 s, aria2 4 s, Transmission 16 s; by DHT
 * 4 s, 13 s (25 s from a magnet link) and 47 s (16 to 29 s with `savedNodes`).
 *
 * Transmission asks a public router when it starts its DHT, and takes no 127.0.0.1 from it:
 * it runs only in a host of a lab network, from which no public address can be reached.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Child, run } from './child.ts'
import { DEBIAN_PATH } from './debian-programs.ts'
import { openLabDirectory, sweepLabDirectories } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'
import { compactAddresses, startStaticTracker } from './static-tracker.ts'
import type { StaticTracker } from './static-tracker.ts'

const COMPLETE_MS = 120_000
const POLL_MS = 200
const LOOPBACK = '127.0.0.1'
const PYTHON = '/usr/bin/python3'
const LIBTORRENT_DHT = join(import.meta.dirname, 'libtorrent-dht.py')
const LIBTORRENT_CLIENT = join(import.meta.dirname, 'libtorrent-client.py')

/** What a client works on. */
export interface TorrentClientOptions {
  /** Path of a .torrent file, or a magnet link. */
  torrent: string
  /** Where its files are (then it seeds them) or will be. */
  directory: string
  /** TCP and UDP port; free on its address. */
  port: number
  /** The host it runs in; loopback of the machine by default. */
  host?: NetworkHost
  /** `address:port` of the DHT node it starts from; no DHT by default. */
  bootstrap?: string
  /** `address:port` of peers that it shall know from the start. */
  peers?: readonly string[]
}

/** A running client. It seeds once it is complete. Disposing stops it. */
export interface TorrentClient extends AsyncDisposable {
  /** `address:port` of its peer port. */
  readonly address: string
  readonly log: string
  /** Waits until it holds and has checked everything. Default limit 120 s. */
  waitForCompletion(options?: { timeoutMs?: number }): Promise<void>
}

/** Running DHT nodes. Disposing stops them. */
export interface DhtNodes extends AsyncDisposable {
  /** `address:port` of the first one. */
  readonly bootstrap: string
  /** `address:port` of all of them. */
  readonly addresses: readonly string[]
}

/** Starts libtorrent 2.0 (the engine of Deluge and qBittorrent). Its log has a JSON line a second. */
export async function startLibtorrent(options: TorrentClientOptions): Promise<TorrentClient> {
  const { torrent, directory, bootstrap = null, peers = [] } = options
  const listen = listenAddress(options)
  const child = new Child(
    PYTHON,
    [LIBTORRENT_CLIENT, JSON.stringify({ listen, torrent, directory, bootstrap, peers })],
    { name: 'libtorrent', prefix: options.host?.prefix ?? [] },
  )
  return await clientOf(child, { listen, started: /^listening$/, complete: /^complete$/ })
}

/** Starts aria2. */
export async function startAria2(options: TorrentClientOptions): Promise<TorrentClient> {
  await sweepLabDirectories()
  const files = await openLabDirectory('aria2')
  const hook = join(files.path, 'complete')
  writeFileSync(hook, '#!/bin/sh\necho bittorrent-complete\n', { mode: 0o755 })
  const listen = listenAddress(options)
  const tracker = await trackerOf(options)
  const dhtFile = join(files.path, 'dht.dat')
  const args = aria2Flags(options, { hook, dhtFile, tracker: tracker?.url })
  const child = new Child('aria2c', ['--no-conf', ...args, options.torrent], {
    env: { PATH: DEBIAN_PATH, HOME: files.path },
    prefix: options.host?.prefix ?? [],
  })
  child.stdin.end()
  const complete = /bittorrent-complete/
  const client = await clientOf(child, { listen, started: /listening on TCP port/i, complete })
  return replaced(client, { [Symbol.asyncDispose]: disposeAll(client, tracker, files) })
}

/**
 * Starts transmission-daemon, in a host of a lab network.
 * @param options.savedNodes `address:port` of DHT nodes that it knows as from an earlier run: it asks
 *   eight of them within 16 s, where it takes half a minute from `bootstrap` alone
 */
export async function startTransmission(
  options: TorrentClientOptions & { host: NetworkHost; savedNodes?: readonly string[] },
): Promise<TorrentClient> {
  await sweepLabDirectories()
  const files = await openLabDirectory('transmission')
  const { host, port, directory, torrent, bootstrap, savedNodes = [] } = options
  const rpcPort = port + 1
  const config = join(files.path, 'config')
  mkdirSync(config)
  if (bootstrap !== undefined) {
    writeFileSync(join(config, 'dht.bootstrap'), `${bootstrap.replace(':', ' ')}\n`)
  }
  if (savedNodes.length > 0) writeFileSync(join(config, 'dht.dat'), savedDht(savedNodes))
  const settings = transmissionSettings({ port, rpcPort, host, directory, bootstrap })
  writeFileSync(join(config, 'settings.json'), JSON.stringify(settings))
  const environment = { PATH: DEBIAN_PATH, HOME: files.path }
  const child = new Child(
    'transmission-daemon',
    ['--foreground', '--log-debug', '--config-dir', config],
    { env: environment, prefix: host.prefix },
  )
  const remote = async (...args: string[]): Promise<string> => {
    const command = [`127.0.0.1:${rpcPort}`, ...args]
    const options = { env: environment, prefix: host.prefix }
    return (await run('transmission-remote', command, options)).stdout
  }
  const client = await clientOf(child, {
    listen: `${host.address}:${port}`,
    started: /RPC Server.*(Serving|Started|listening)/i,
  })
  const tracker = await trackerOf(options)
  await remote('--add', torrent)
  if (tracker !== undefined) await remote('--torrent', '1', '--tracker-add', tracker.url)
  return replaced(client, {
    waitForCompletion: async (limits = {}) => await pollUntilDone(child, remote, limits),
    [Symbol.asyncDispose]: disposeAll(client, tracker, files),
  })
}

/**
 * Starts DHT nodes for clients to start from: on ports `port` to `port + count - 1` of one address.
 * Transmission uses a DHT only when it knows more than eight nodes: give it twelve.
 * @returns the first node as `address:port`, for `bootstrap`
 */
export async function startDhtNodes(options: {
  host?: NetworkHost
  port: number
  count: number
}): Promise<DhtNodes> {
  const { host, port, count } = options
  const address = host?.address ?? LOOPBACK
  const child = new Child(PYTHON, [LIBTORRENT_DHT, address, String(port), String(count)], {
    name: 'dht nodes',
    prefix: host?.prefix ?? [],
  })
  const client = await clientOf(child, { listen: `${address}:${port}`, started: /^listening$/ })
  const addresses = Array.from({ length: count }, (_, index) => `${address}:${port + index}`)
  return { bootstrap: client.address, addresses, [Symbol.asyncDispose]: disposeAll(client) }
}

/** Makes a .torrent of a file or folder with Transmission's own tool, without a tracker. */
export async function createTorrent(source: string, torrentFile: string): Promise<void> {
  const result = await run('transmission-create', ['--outfile', torrentFile, source], {
    env: { PATH: DEBIAN_PATH },
  })
  if (result.code !== 0) throw new Error(`transmission-create: ${result.stdout}${result.stderr}`)
}

function listenAddress({ host, port }: TorrentClientOptions): string {
  return `${host?.address ?? LOOPBACK}:${port}`
}

async function trackerOf(options: TorrentClientOptions): Promise<StaticTracker | undefined> {
  const { host, peers = [] } = options
  return peers.length === 0 ? undefined : await startStaticTracker(host?.gateway ?? LOOPBACK, peers)
}

async function clientOf(
  child: Child,
  { listen, started, complete }: { listen: string; started: RegExp; complete?: RegExp },
): Promise<TorrentClient> {
  try {
    await child.waitForLine(started)
  } catch (error) {
    await child[Symbol.asyncDispose]()
    throw error
  }
  return {
    address: listen,
    get log() {
      return child.stdout + child.stderr
    },
    waitForCompletion: async ({ timeoutMs = COMPLETE_MS } = {}) => {
      if (complete !== undefined) await child.waitForLine(complete, { timeoutMs })
    },
    [Symbol.asyncDispose]: async () => await child[Symbol.asyncDispose](),
  }
}

function aria2Flags(
  options: TorrentClientOptions,
  { hook, dhtFile, tracker }: { hook: string; dhtFile: string; tracker: string | undefined },
): string[] {
  const port = String(options.port)
  const table = {
    dir: options.directory,
    interface: options.host?.address ?? LOOPBACK,
    'listen-port': port,
    'dht-listen-port': port,
    'enable-dht': String(options.bootstrap !== undefined),
    'dht-entry-point': options.bootstrap,
    'dht-file-path': dhtFile,
    'bt-tracker': tracker,
    'enable-dht6': 'false',
    'disable-ipv6': 'true',
    'async-dns': 'false',
    'bt-enable-lpd': 'false',
    'follow-torrent': 'mem',
    'seed-ratio': '0.0',
    'check-integrity': 'true',
    'allow-overwrite': 'true',
    'file-allocation': 'none',
    'on-bt-download-complete': hook,
    'console-log-level': 'info',
    'show-console-readout': 'false',
    'summary-interval': '0',
  }
  // aria2 takes `--name=value` only.
  return Object.entries(table).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}=${value}`],
  )
}

function transmissionSettings(options: {
  port: number
  rpcPort: number
  host: NetworkHost
  directory: string
  bootstrap: string | undefined
}): Record<string, unknown> {
  return {
    'download-dir': options.directory,
    'incomplete-dir-enabled': false,
    'bind-address-ipv4': options.host.address,
    'bind-address-ipv6': '::1',
    'peer-port': options.port,
    'rpc-port': options.rpcPort,
    'rpc-bind-address': '127.0.0.1',
    'rpc-whitelist-enabled': false,
    'rpc-host-whitelist-enabled': false,
    'dht-enabled': options.bootstrap !== undefined,
    'lpd-enabled': false,
    'pex-enabled': true,
    'port-forwarding-enabled': false,
    // Measured: with uTP its first piece takes a minute longer.
    'utp-enabled': false,
    'start-added-torrents': true,
  }
}

/** Transmission's own file of its DHT: its id, and compact IPv4 addresses (BEP 5). */
function savedDht(nodes: readonly string[]): Buffer {
  const compact = compactAddresses(nodes)
  const head = [Buffer.from('d2:id20:'), randomBytes(20), Buffer.from(`5:nodes${compact.length}:`)]
  return Buffer.concat([...head, compact, Buffer.from('e')])
}

async function pollUntilDone(
  child: Child,
  remote: (...args: string[]) => Promise<string>,
  { timeoutMs = COMPLETE_MS }: { timeoutMs?: number },
): Promise<void> {
  const deadline = AbortSignal.timeout(timeoutMs)
  for (;;) {
    const status = await remote('--torrent', '1', '--info')
    if (/Percent Done: 100%/.test(status) && /State: (Seeding|Idle)/.test(status)) return
    if (deadline.aborted || child.exit !== undefined) {
      throw new Error(`transmission is not complete\n${status}\n${child.stderr.slice(-4000)}`)
    }
    await delay(POLL_MS)
  }
}

/** The client with other methods. Not by a spread, which would keep its log as it is now. */
function replaced(client: TorrentClient, methods: Partial<TorrentClient>): TorrentClient {
  return Object.assign(Object.create(client) as TorrentClient, methods)
}

function disposeAll(...resources: Array<AsyncDisposable | undefined>): () => Promise<void> {
  return async () => {
    for (const resource of resources) await resource?.[Symbol.asyncDispose]()
  }
}
