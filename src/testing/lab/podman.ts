/**
 * Podman with storage of its own: 4.3 of Debian 12, or a current one from the chroot. It has no
 * daemon: each call is a process.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { flags, mustSucceed, run } from './child.ts'
import type { CommandResult, RunOptions } from './child.ts'
import { LAB_ENVIRONMENT } from './debian-programs.ts'
import { removeIdleCgroups } from './lab-cgroups.ts'
import { openLabDirectory, sweepLabDirectories } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'
import { chrootScript } from './sid-chroot.ts'

// Podman mounts its storage on itself, so each call has a mount namespace that ends with it; in it
// the storage has a short name, because a runroot must not be longer than 50 characters.
const STORAGE = '/run/ddocker-lab/podman'
const MACHINE = `
mkdir -p ${STORAGE} /etc/containers
mount --bind "$D" ${STORAGE}
mount --bind "$D/etc" /etc/containers
exec podman "$@"
`
// What podman writes besides its storage ends with the call.
const CHROOT = `
mkdir -p /run/ddocker-lab/call
mount -t tmpfs call /run/ddocker-lab/call
R=/run/ddocker-lab/call/chroot UPPER=/run/ddocker-lab/call/upper WORK=/run/ddocker-lab/call/work
`
const IN_CHROOT = `
mkdir -p "$R${STORAGE}" "$R/etc/containers"
mount --bind "$D" "$R${STORAGE}"
mount --bind "$D/etc" "$R/etc/containers"
exec chroot "$R" podman "$@"
`

// Podman's own limits are higher than what root may set on some machines, and a current crun
// refuses machines whose cgroups are of both versions.
const CONTAINERS_CONF = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
`

/** How a podman of a test is set up. */
export interface PodmanOptions {
  /** The host it runs in; the machine's own network by default. */
  host?: NetworkHost
  /** Default overlay; vfs copies every layer. */
  storage?: 'overlay' | 'vfs'
  /** 4.3 of Debian 12 (the default), or 5.8 and later. */
  release?: 'debian' | 'current'
}

/** A podman with its own images and containers. Disposing removes all of them. */
export interface Podman extends AsyncDisposable {
  /** What podman sees as /etc/containers: registries.conf, registries.conf.d, policy.json. */
  readonly configDirectory: string
  /** Runs podman; a failing command is a result. Default time limit 120 s. */
  podman(args: readonly string[], options?: RunOptions): Promise<CommandResult>
  /** Runs podman and gives its trimmed stdout. @throws Error when the command fails */
  podmanOk(args: readonly string[], options?: RunOptions): Promise<string>
  /** Pulls over plain HTTP, such as `127.0.0.1:5151/local/x:tag`; returns the image ID. */
  pull(reference: string): Promise<string>
}

/** Makes an empty podman. Needs root. */
export async function openPodman(options: PodmanOptions = {}): Promise<Podman> {
  await sweepLabDirectories()
  const directory = await openLabDirectory('podman')
  const at = (name: string): string => join(directory.path, name)
  mkdirSync(at('etc/registries.conf.d'), { recursive: true })
  writeFileSync(at('etc/registries.conf'), 'unqualified-search-registries = []\n')
  writeFileSync(at('etc/policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}')
  writeFileSync(at('etc/containers.conf'), CONTAINERS_CONF)
  const globals = flags({
    root: join(STORAGE, 'root'),
    runroot: join(STORAGE, 'run'),
    tmpdir: join(STORAGE, 'tmp'),
    'storage-driver': options.storage ?? 'overlay',
    'cgroup-manager': 'cgroupfs',
    'events-backend': 'file',
  })
  const script = options.release === 'current' ? `${CHROOT}${chrootScript()}${IN_CHROOT}` : MACHINE
  const podman: Podman['podman'] = async (args, runOptions = {}) => {
    const isolate = ['--mount', '--propagation', 'private', 'bash', '-euc', script, 'podman']
    return await run('unshare', [...isolate, ...globals, ...args], {
      timeoutMs: 120_000,
      prefix: options.host?.prefix ?? [],
      ...runOptions,
      env: {
        D: directory.path,
        ...LAB_ENVIRONMENT,
        ...runOptions.env,
      },
    })
  }
  const podmanOk: Podman['podmanOk'] = async (args, runOptions = {}) => {
    const result = await podman(args, runOptions)
    return mustSucceed(result, `podman ${args.join(' ')}`).stdout.trim()
  }
  return {
    configDirectory: at('etc'),
    podman,
    podmanOk,
    pull: async (reference) => {
      return await podmanOk(['pull', '--quiet', '--tls-verify=false', reference])
    },
    [Symbol.asyncDispose]: async () => {
      await podman(['rm', '--all', '--force', '--time', '0'])
      await removeIdleCgroups('libpod_parent')
      await directory[Symbol.asyncDispose]()
    },
  }
}
