/** A ddocker node as a real process, as a user runs it: `ddocker serve`. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Child, flags, mustSucceed, run } from './child.ts'
import type { CommandResult, Exit, RunOptions } from './child.ts'
import { openLabDirectory, sweepLabDirectories } from './lab-directory.ts'
import type { LabDirectory } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'

const PROGRAM = join(import.meta.dirname, '../../../bin/ddocker.js')
const READY_MS = 30_000
const STOP_MS = 20_000
const LOG_CHARS = 8000

/** How a node is started. What is left out is chosen so that the node stays on this machine. */
export interface DdockerNodeOptions {
  /** Explicit in every test, and never `mainline` by itself: `bootstrap:10.77.1.1:6881`, `static:…`, `lan`. */
  discovery: string
  /** The host it runs in; the machine's own network by default. */
  host?: NetworkHost
  /** Default `127.0.0.1:5151` in a host of its own, else a free port of 127.0.0.1. */
  registry?: string
  /** Default: the host's address, else 127.0.0.1. */
  peerHost?: string
  /** Default 6881 in a host of its own, else a free one. */
  peerPort?: number
  nodeName?: string
  /** 64 hex digits that all nodes of a test's swarm share; a key of its own by default. */
  swarmKey?: string
  /** As `discovery`; default `none`: what is published is announced nowhere. */
  publicDiscovery?: string
  /** Default `none`; `engine.dockerHost` of the lab. */
  dockerHost?: string
  /** Default `off`: no registry is asked. */
  upstream?: 'on' | 'off'
  /** Kept on disposal; a new one that disposal removes by default. */
  dataDir?: string
  /** Further flags of `serve`. */
  args?: readonly string[]
  env?: Record<string, string | undefined>
  /** A wrapper around node, such as `['strace', '-f', …]`. */
  wrapper?: readonly string[]
}

/** The line that `serve` prints when the node can be used. */
export interface ReadyLine {
  registry: string
  peerPort: number
  nodeId: string
  nodeName: string
  swarmId: string
}

/** An answer of the node's HTTP address. */
export interface HttpAnswer {
  status: number
  body: string
}

/** A running node. Disposing stops it and removes its data directory; it throws if the node had died. */
export interface DdockerNode extends AsyncDisposable {
  /** Of the newest start. */
  readonly ready: ReadyLine
  /** Process id of node, not of a wrapper shell. */
  readonly pid: number
  readonly dataDir: string
  /** Where other nodes of the test reach its peer port: `address:port`. */
  readonly peerAddress: string
  /** `host:port` of the registry door, as `docker pull` on the same host writes it. */
  readonly registry: string
  /** stderr of the newest start. */
  readonly log: string
  /** Waits for a line of it, which may come a moment after what it tells of; the limit is 10 s. */
  logged(pattern: RegExp): Promise<void>
  /** Runs a command against this node; a failing command is a result. Default limit 120 s. */
  cli(args: readonly string[], options?: RunOptions): Promise<CommandResult>
  /** Runs a command with `--json` and parses its stdout. @throws Error when it fails */
  cliJson(args: readonly string[], options?: RunOptions): Promise<unknown>
  /** GET of a path of its HTTP address, from the host that it runs in. */
  get(path: string): Promise<HttpAnswer>
  signal(signal: NodeJS.Signals): void
  /** SIGTERM, as an operator ends it. The data directory stays until disposal. */
  stop(): Promise<Exit>
  /** kill -9. */
  kill(): Promise<Exit>
  /** Starts it again on the same data directory and the same options, after stop or kill too. */
  restart(): Promise<void>
}

/** Starts a node and waits until it is ready. @throws Error with its output when it does not */
export async function startDdockerNode(options: DdockerNodeOptions): Promise<DdockerNode> {
  refuseRealMainline(options.discovery)
  refuseRealMainline(options.publicDiscovery ?? 'none')
  await sweepLabDirectories()
  const node = new LabNode(options, await openLabDirectory('node'))
  try {
    await node.restart()
    return node
  } catch (error) {
    await node[Symbol.asyncDispose]()
    throw error
  }
}

/** A stand-in on this machine is none. */
export function refuseRealMainline(discovery: string): void {
  const words = discovery.split(',').filter((word) => word.startsWith('mainline'))
  if (words.every((word) => /^mainline:(?:10|127)(?:\.\d+){3}:\d+$/.test(word))) return
  throw new TypeError('tests stay off mainline')
}

class LabNode implements DdockerNode {
  readonly dataDir: string
  readonly #options: DdockerNodeOptions
  readonly #directory: LabDirectory
  readonly #prefix: readonly string[]
  readonly #peerHost: string
  #child: Child | undefined
  #ready: ReadyLine | undefined
  #mayEnd = false

  constructor(options: DdockerNodeOptions, directory: LabDirectory) {
    this.#options = options
    this.#directory = directory
    this.#prefix = options.host?.prefix ?? []
    this.#peerHost = options.peerHost ?? options.host?.address ?? '127.0.0.1'
    this.dataDir = options.dataDir ?? join(directory.path, 'state')
    mkdirSync(join(directory.path, 'home'))
    if (options.swarmKey !== undefined) {
      writeFileSync(this.#keyFile, `${options.swarmKey}\n`, { mode: 0o600 })
    }
  }

  get ready(): ReadyLine {
    if (this.#ready === undefined) throw new Error('the node has never been ready')
    return this.#ready
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  get peerAddress(): string {
    return `${this.#peerHost}:${this.ready.peerPort}`
  }

  get registry(): string {
    return this.ready.registry
  }

  get log(): string {
    return this.#child?.stderr ?? ''
  }

  async logged(pattern: RegExp): Promise<void> {
    await this.#child?.waitForLine(pattern, { from: 'stderr', timeoutMs: 10_000 })
  }

  async cli(args: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    return await run(process.execPath, [PROGRAM, ...args, '--data-dir', this.dataDir], {
      timeoutMs: 120_000,
      prefix: this.#prefix,
      ...options,
      env: { ...this.#environment(), ...options.env },
    })
  }

  async cliJson(args: readonly string[], options: RunOptions = {}): Promise<unknown> {
    const result = await this.cli([...args, '--json'], options)
    return JSON.parse(mustSucceed(result, `ddocker ${args.join(' ')}`).stdout) as unknown
  }

  async get(path: string): Promise<HttpAnswer> {
    const url = `http://${this.registry}${path}`
    if (this.#options.host === undefined) {
      const response = await fetch(url, { signal: AbortSignal.timeout(30_000) })
      return { status: response.status, body: await response.text() }
    }
    const curl = ['--silent', '--max-time', '30', '--write-out', '\n%{http_code}', url]
    const result = await run('curl', curl, { prefix: this.#prefix })
    const { stdout } = mustSucceed(result, `curl ${url}`)
    const end = stdout.lastIndexOf('\n')
    return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) }
  }

  signal(signal: NodeJS.Signals): void {
    this.#mayEnd ||= this.#child?.exit === undefined
    this.#child?.signal(signal)
  }

  async stop(): Promise<Exit> {
    this.#mayEnd ||= this.#child?.exit === undefined
    return await this.#running().stop({ graceMs: STOP_MS })
  }

  async kill(): Promise<Exit> {
    this.#mayEnd ||= this.#child?.exit === undefined
    return await this.#running().kill()
  }

  async restart(): Promise<void> {
    await this.#child?.stop({ graceMs: STOP_MS })
    const command = [...(this.#options.wrapper ?? []), process.execPath, PROGRAM, 'serve']
    const [program = '', ...args] = [...command, ...this.#serveFlags()]
    this.#child = new Child(program, args, {
      name: this.#options.nodeName ?? 'ddocker',
      prefix: this.#prefix,
      env: this.#environment(),
    })
    const found = await this.#child.waitForLine(/^ready (\{.*\})$/, {
      timeoutMs: READY_MS,
      from: 'stdout',
    })
    this.#ready = JSON.parse(found[1] ?? '') as ReadyLine
    this.#mayEnd = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const death = this.#death()
    await this.#child?.stop({ graceMs: STOP_MS })
    await this.#directory[Symbol.asyncDispose]()
    if (death !== undefined) throw death
  }

  /** A node that ends although nobody told it to is a failure, whatever the test was about. */
  #death(): Error | undefined {
    const exit = this.#child?.exit
    if (exit === undefined || this.#mayEnd || this.#ready === undefined) return undefined
    const name = this.#options.nodeName ?? 'ddocker'
    return new Error(`node ${name} died: ${JSON.stringify(exit)}\n${this.log.slice(-LOG_CHARS)}`)
  }

  get #keyFile(): string {
    return join(this.#directory.path, 'swarm.key')
  }

  #running(): Child {
    if (this.#child === undefined) throw new Error('the node was never started')
    return this.#child
  }

  #serveFlags(): string[] {
    const { host, registry, peerPort, nodeName, swarmKey, args = [] } = this.#options
    const isAlone = host !== undefined
    const values = flags({
      'data-dir': this.dataDir,
      // Where it was before, so that others find it again.
      registry: registry ?? this.#ready?.registry ?? (isAlone ? '127.0.0.1:5151' : '127.0.0.1:0'),
      'peer-host': this.#peerHost,
      'peer-port': String(peerPort ?? this.#ready?.peerPort ?? (isAlone ? 6881 : 0)),
      'node-name': nodeName,
      'swarm-key-file': swarmKey === undefined ? undefined : this.#keyFile,
      discovery: this.#options.discovery,
      'public-discovery': this.#options.publicDiscovery ?? 'none',
      'public-port': isAlone ? '6882' : '0',
      'docker-host': this.#options.dockerHost ?? 'none',
      upstream: this.#options.upstream ?? 'off',
    })
    return [...values, ...args]
  }

  /** Nothing of the person who runs the tests: no credentials, no options, no engine. */
  #environment(): Record<string, string | undefined> {
    const inherited = Object.keys(process.env).filter((name) => /^(DDOCKER|DOCKER)_/.test(name))
    return {
      ...Object.fromEntries(inherited.map((name) => [name, undefined])),
      // its second reading costs a node 7 MB
      NODE_EXTRA_CA_CERTS: undefined,
      HOME: join(this.#directory.path, 'home'),
      // what its sources were compiled to, as on all starts of a node but the first
      XDG_CACHE_HOME: process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
      ...this.#options.env,
    }
  }
}
