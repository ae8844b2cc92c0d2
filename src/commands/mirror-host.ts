import { loadConfig } from '../config/load-config.ts'
import { parsePath } from '../config/option-values.ts'
import type { Config } from '../config/options.ts'
import { connectNode } from '../control/control-client.ts'
import { OperationError } from '../errors.ts'
import { hostsFoldersOf } from '../mirror/containerd-config.ts'
import { readDockerFacts } from '../mirror/docker-api.ts'
import {
  configFolders,
  ENGINE_NAMES,
  type ConfigFolders,
  type DockerFacts,
  type EngineName,
} from '../mirror/engine-plan.ts'
import { findEngines } from '../mirror/found-engines.ts'
import { HostTree } from '../mirror/host-tree.ts'
import { programRunner, type RunProgram } from '../mirror/run-program.ts'
import { parseToml } from '../mirror/toml-file.ts'
import type { NodeStatus } from '../status/node-status.ts'
import type { Invocation } from './command.ts'
import { withoutProgress } from './node-access.ts'

/** The host, or the tree, whose engines a command line means. */
export interface MirrorHost {
  readonly tree: HostTree
  readonly folders: ConfigFolders
  /** where the record of what was done is, on this host */
  readonly stateDir: string
  /** those that are asked for, else all that are found */
  readonly engines: readonly EngineName[]
  /** where the node is, as engines reach it: `127.0.0.1:5151` */
  readonly address: string
  /** absent where no Docker answers */
  readonly docker?: { readonly facts: DockerFacts; readonly socketPath: string }
  /** what the containerd of this host says; absent where it cannot be asked */
  readonly hostsFolders?: readonly string[]
  /** of dockerd */
  readonly pidFile?: string
  readonly run: RunProgram
}

const STATE_DIR = '/var/lib/ddocker/mirror'

/**
 * Finds out what there is.
 * @param options.withoutFlags which engines are meant where no flag names one
 * @throws OperationError CONFIG_INVALID, ENGINE_UNAVAILABLE: no engine is found, MIRROR_FILE_INVALID
 */
export async function openMirrorHost(
  invocation: Invocation,
  { withoutFlags = 'found' }: { withoutFlags?: 'found' | 'all' } = {},
): Promise<MirrorHost> {
  const { flags, host, signal } = invocation
  const config = await loadConfig(flags, host)
  const root = typeof flags['root'] === 'string' ? parsePath(flags['root'], host) : '/'
  const tree = new HostTree(root)
  const isUser = tree.isThisHost && !host.isRoot
  const folders = configFolders(isUser ? { configHome: configHome(invocation) } : undefined)
  const run = programRunner(signal)
  const runtimeDir = isUser ? host.environment['XDG_RUNTIME_DIR'] : '/var/run'
  const socketPath = dockerSocket(config, { isOtherTree: !tree.isThisHost, flags, runtimeDir })
  const facts = socketPath && (await readDockerFacts(socketPath, signal))
  const hostsFolders = tree.isThisHost && !isUser ? await askContainerd(run) : undefined
  return {
    tree,
    folders,
    stateDir: await stateDirOf(invocation, tree),
    engines:
      withoutFlags === 'all'
        ? askedEngines(invocation, ENGINE_NAMES)
        : await enginesOf(invocation, tree, folders),
    address: await nodeAddress(invocation, config, tree),
    ...(facts && socketPath !== undefined && { docker: { facts, socketPath } }),
    ...(hostsFolders && { hostsFolders }),
    ...(runtimeDir !== undefined && { pidFile: `${runtimeDir}/docker.pid` }),
    run,
  }
}

/** Words of a list with commas between them. */
export function listFlag(value: unknown): string[] {
  const parts = typeof value === 'string' ? value.split(',') : []
  return parts.map((part) => part.trim().toLowerCase()).filter((part) => part !== '')
}

function configHome({ host: { environment, homeDir } }: Invocation): string {
  const home = environment['XDG_CONFIG_HOME']
  return home?.startsWith('/') ? home : `${homeDir}/.config`
}

/** Where the record of what was done to a tree is, on this host: with the data of its root, or of this user. */
export async function stateDirOf(
  { host: { environment, homeDir, isRoot } }: Pick<Invocation, 'host'>,
  tree: HostTree,
): Promise<string> {
  if (isRoot || !tree.isThisHost) return await tree.resolve(STATE_DIR)
  const home = environment['XDG_DATA_HOME']
  return `${home?.startsWith('/') ? home : `${homeDir}/.local/share`}/ddocker/mirror`
}

/** Those that flags name, else all of `others`. */
function askedEngines({ flags }: Invocation, others: readonly EngineName[]): readonly EngineName[] {
  const asked = ENGINE_NAMES.filter((name) => flags[name] === true)
  return asked.length > 0 ? asked : others
}

async function enginesOf(
  invocation: Invocation,
  tree: HostTree,
  folders: ConfigFolders,
): Promise<readonly EngineName[]> {
  const engines = askedEngines(invocation, await findEngines(tree, folders))
  if (engines.length > 0) return engines
  throw new OperationError('ENGINE_UNAVAILABLE', `${tree.root}: wanted an engine, found none`, {
    details: { wanted: ENGINE_NAMES },
  })
}

/** The running node says it best; engines in another tree may have another node. */
async function nodeAddress(
  { signal, flags }: Invocation,
  config: Config,
  tree: HostTree,
): Promise<string> {
  const isTold = flags['registry'] !== undefined
  if (tree.isThisHost && !isTold) {
    try {
      const node = connectNode(config.dataDir)
      return ((await withoutProgress({ signal }, node.status, {})) as NodeStatus).registry
    } catch {
      signal.throwIfAborted()
      // none runs, or it is somebody else's: the configuration tells
    }
  }
  const { host, port } = config.registry
  if (port === 0) {
    const message = 'registry: wanted a port that engines can be told, found 0'
    throw new OperationError('CONFIG_INVALID', message)
  }
  return `${reachableHost(host)}:${port}`
}

function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}

/** Only an engine on this host reads the files here; one in another tree must be named. */
function dockerSocket(
  { dockerHost }: Config,
  {
    isOtherTree,
    flags,
    runtimeDir,
  }: { isOtherTree: boolean; flags: Invocation['flags']; runtimeDir: string | undefined },
): string | undefined {
  if (isOtherTree && flags['dockerHost'] === undefined) return undefined
  if (dockerHost === 'auto') return runtimeDir && `${runtimeDir}/docker.sock`
  return /^unix:\/\/(.+)$/.exec(dockerHost)?.[1]
}

/** `config dump` is the configuration with its defaults and imports, which differ between releases. */
async function askContainerd(run: RunProgram): Promise<string[] | undefined> {
  const { code, stdout } = await run('containerd', ['config', 'dump'])
  if (code !== 0) return undefined
  try {
    return hostsFoldersOf(parseToml(stdout, 'containerd config dump'))
  } catch {
    // a program that is called containerd and is none
    return undefined
  }
}
