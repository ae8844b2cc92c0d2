import type { HostTree } from './host-tree.ts'
import type { Insertion } from './text-edit.ts'

export const ENGINE_NAMES = ['docker', 'containerd', 'podman', 'buildkit'] as const

const AFTERWARDS: Readonly<Record<string, string>> = {
  'daemon.json':
    'Let Docker read daemon.json again: `systemctl reload docker`, or SIGHUP to dockerd.',
  'config.toml':
    'Restart containerd, it reads config.toml at its start: `systemctl restart containerd`.',
  'buildkitd.toml': 'Restart buildkitd, it reads buildkitd.toml at its start.',
}

/** A kind of engine, as its flag names it; `podman` stands for all that read registries.conf. */
export type EngineName = (typeof ENGINE_NAMES)[number]

/** How a file of this kind loses our part after somebody rewrote it. */
export type FileKind = 'hosts.toml' | 'daemon.json' | 'other'

/** A file that an engine reads, and what to put into it. */
export interface FileEdit {
  /** as the engine sees it */
  readonly path: string
  readonly kind: FileKind
  /** @param text the file as the user has it, undefined where there is none; what comes back changes nothing else */
  readonly insert: (text: string | undefined) => readonly Insertion[]
}

/** What it takes to put the node in front of one engine. */
export interface EnginePlan {
  readonly engine: EngineName
  /** what is covered, and why so */
  readonly title: string
  readonly edits: readonly FileEdit[]
  /** folders that must be there though nothing is in them */
  readonly folders: readonly string[]
  /** what this cannot do, sentences */
  readonly remarks: readonly string[]
}

/** What a running Docker says of itself. */
export interface DockerFacts {
  readonly version: string
  readonly store: 'graphdriver' | 'containerd'
  /** loaded ones, in order, without a slash at the end */
  readonly mirrors: readonly string[]
  /** registries that may be asked without TLS: host, host:port or a range */
  readonly insecureRegistries: readonly string[]
  readonly dataRoot: string
}

/** Where engines keep their configuration. */
export interface ConfigFolders {
  readonly docker: string
  readonly containerd: string
  readonly containers: string
  readonly buildkit: string
  /** the engines are those of a user: the system's files count before */
  readonly isRootless: boolean
}

/** All that plans are made from. */
export interface PlanContext {
  readonly tree: HostTree
  readonly folders: ConfigFolders
  /** `127.0.0.1:5151` */
  readonly address: string
  /** registries for engines without a catch-all, besides the known ones */
  readonly registries: readonly string[]
  /** absent where no Docker answers, or the tree is not this host's */
  readonly docker?: DockerFacts
  /** of the running containerd, defaults included; absent where it cannot be asked */
  readonly hostsFolders?: readonly string[]
  /** whether a folder was made, or a file written, by an earlier install */
  readonly isOurs: (path: string) => boolean
}

/** What an engine needs before it notices that one of its files changed, an imperative sentence. */
export function afterwardsOf(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf('/') + 1)
  return AFTERWARDS[name]
}

/** Where engines of the system, or those of a user, have their files. */
export function configFolders(user?: { configHome: string }): ConfigFolders {
  const base = user?.configHome ?? '/etc'
  return {
    docker: `${base}/docker`,
    containerd: `${base}/containerd`,
    containers: `${base}/containers`,
    buildkit: `${base}/buildkit`,
    isRootless: user !== undefined,
  }
}

/** `http://127.0.0.1:5151`, as hosts.toml and daemon.json name the node. */
export function mirrorUrl(address: string): string {
  return `http://${address}`
}
