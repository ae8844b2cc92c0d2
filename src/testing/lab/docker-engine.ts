/**
 * One real dockerd as a test sees it; `docker-gd.ts` and `docker-ctr.ts` say how it is started.
 *
 *   <directory>/docker.sock   the socket
 *   <directory>/root          data-root (CTR: containerd's content store is below it)
 *   <directory>/etc           seen by the daemon as /etc/docker: daemon.json, certs.d
 *   <directory>/plugins       seen by the daemon as /run/docker/plugins
 *   <directory>/client        DOCKER_CONFIG of the client; its plugins are below it
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { flags, mustSucceed, run } from './child.ts'
import type { Child, CommandResult, RunOptions } from './child.ts'
import { LAB_ENVIRONMENT } from './debian-programs.ts'
import { startIsolatedChild } from './isolated-child.ts'
import { labCgroup, removeLabCgroups } from './lab-cgroups.ts'
import { openLabDirectory, sweepLabDirectories } from './lab-directory.ts'
import type { LabDirectory } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'

const START_MS = 60_000
const STOP_MS = 30_000

/** How an engine of a test is started. */
export interface DockerEngineOptions {
  /** The host it runs in; the machine's own network by default. */
  host?: NetworkHost
  /** Merged over the daemon.json of the lab, such as `{ 'registry-mirrors': [...] }`. */
  daemonJson?: Record<string, unknown>
}

/** A running dockerd with its client. Disposing stops it and removes everything it held. */
export interface DockerEngine extends AsyncDisposable {
  readonly kind: 'docker-gd' | 'docker-ctr'
  /** Path of the unix socket; `unix://` + socket is a DOCKER_HOST. */
  readonly socket: string
  readonly dockerHost: string
  /** data-root; readable by root. */
  readonly dataRoot: string
  /** What the daemon sees as /etc/docker. */
  readonly configDirectory: string
  /** What the daemon sees as /run/docker/plugins. */
  readonly pluginDirectory: string
  /** The daemon's log so far. */
  readonly log: string
  /** Runs the client; a failing command is a result. Default time limit 120 s. */
  docker(args: readonly string[], options?: RunOptions): Promise<CommandResult>
  /** Runs the client and gives its trimmed stdout. @throws Error when the command fails */
  dockerOk(args: readonly string[], options?: RunOptions): Promise<string>
  /** Sends a signal to dockerd; SIGHUP makes it read daemon.json again. */
  signal(signal: NodeJS.Signals): void
  /** SIGTERM and wait; the directory stays until disposal. */
  stop(): Promise<void>
  /** The power cut: everything ends at once. */
  kill(): Promise<void>
  /** Starts it again on the same directory, after stop or kill too. */
  restart(): Promise<void>
}

/** What differs between the two kinds. */
export interface EngineRecipe {
  kind: DockerEngine['kind']
  daemonJson: Record<string, unknown>
  /** As for `startIsolatedChild`, with $D = the engine's directory. */
  script: string
  /** Command line of the client, without -H. */
  client: readonly string[]
  /** Command lines of the client's plugins, by name. */
  clientPlugins?: Readonly<Record<string, readonly string[]>>
}

/** Starts an engine by its recipe. */
export async function startDockerEngine(
  recipe: EngineRecipe,
  options: DockerEngineOptions,
): Promise<DockerEngine> {
  await sweepLabDirectories()
  const directory = await openLabDirectory(recipe.kind.slice('docker-'.length))
  const engine = new LabDocker(recipe, directory, options)
  try {
    await engine.restart()
    return engine
  } catch (error) {
    await engine[Symbol.asyncDispose]()
    throw error
  }
}

class LabDocker implements DockerEngine {
  readonly kind: DockerEngine['kind']
  readonly socket: string
  readonly dockerHost: string
  readonly dataRoot: string
  readonly configDirectory: string
  readonly pluginDirectory: string
  readonly #recipe: EngineRecipe
  readonly #directory: LabDirectory
  readonly #prefix: readonly string[]
  readonly #cgroup: string
  #daemon: Child | undefined

  constructor(recipe: EngineRecipe, directory: LabDirectory, options: DockerEngineOptions) {
    const { path } = directory
    this.kind = recipe.kind
    this.#recipe = recipe
    this.#directory = directory
    this.#prefix = options.host?.prefix ?? []
    this.#cgroup = labCgroup(path)
    this.socket = join(path, 'docker.sock')
    this.dockerHost = `unix://${this.socket}`
    this.dataRoot = join(path, 'root')
    this.configDirectory = join(path, 'etc')
    this.pluginDirectory = join(path, 'plugins')
    for (const name of ['root', 'etc', 'plugins', 'client']) mkdirSync(join(path, name))
    writePlugins(join(path, 'client/cli-plugins'), recipe.clientPlugins ?? {})
    const daemonJson = { ...recipe.daemonJson, ...options.daemonJson }
    writeFileSync(join(this.configDirectory, 'daemon.json'), JSON.stringify(daemonJson, null, 2))
  }

  get log(): string {
    return this.#daemon?.stderr ?? ''
  }

  async docker(args: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    const [command = 'docker', ...rest] = this.#recipe.client
    return await run(command, [...rest, '-H', this.dockerHost, ...args], {
      timeoutMs: 120_000,
      // For BuildKit it is the client that asks for tokens, so it is on the host too.
      prefix: this.#prefix,
      ...options,
      env: {
        ...LAB_ENVIRONMENT,
        DOCKER_CONFIG: join(this.#directory.path, 'client'),
        // The legacy builder, unless a test asks for BuildKit.
        DOCKER_BUILDKIT: '0',
        DOCKER_HOST: undefined,
        DOCKER_CONTEXT: undefined,
        ...options.env,
      },
    })
  }

  async dockerOk(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const result = await this.docker(args, options)
    return mustSucceed(result, `${this.kind}: docker ${args.join(' ')}`).stdout.trim()
  }

  signal(signal: NodeJS.Signals): void {
    this.#daemon?.signal(signal)
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop({ graceMs: STOP_MS })
  }

  async kill(): Promise<void> {
    await this.#daemon?.kill()
  }

  async restart(): Promise<void> {
    await this.stop()
    const D = this.#directory.path
    // Left by a kill: pid files there name pids that mean others in new namespaces.
    await rm(join(D, 'exec'), { recursive: true, force: true })
    this.#daemon = startIsolatedChild({
      name: this.kind,
      script: this.#recipe.script,
      args: flags({
        'data-root': this.dataRoot,
        'exec-root': join(D, 'exec'),
        host: this.dockerHost,
        pidfile: join(D, 'exec/dockerd.pid'),
        'cgroup-parent': `/${this.#cgroup}`,
      }),
      env: { D },
      prefix: this.#prefix,
    })
    await this.#daemon.waitForLine(/API listen on /, { timeoutMs: START_MS })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await removeLabCgroups(this.#cgroup)
    await this.#directory[Symbol.asyncDispose]()
  }
}

function writePlugins(
  directory: string,
  plugins: Readonly<Record<string, readonly string[]>>,
): void {
  mkdirSync(directory)
  for (const [name, command] of Object.entries(plugins)) {
    const script = `#!/bin/sh\nexec ${command.join(' ')} "$@"\n`
    writeFileSync(join(directory, name), script, { mode: 0o755 })
  }
}
