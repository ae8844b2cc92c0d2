/** containerd with `ctr`, without Docker: 1.6 of Debian 12, or a current one from the chroot. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mustSucceed, run } from './child.ts'
import type { CommandResult, RunOptions } from './child.ts'
import { LAB_ENVIRONMENT } from './debian-programs.ts'
import { startIsolatedChild } from './isolated-child.ts'
import { removeIdleCgroups } from './lab-cgroups.ts'
import { openLabDirectory, sweepLabDirectories } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'
import { chrootProgram, chrootScript } from './sid-chroot.ts'

// Sockets of shims and FIFOs of containers are below /run/containerd: daemon and ctr must see the
// same one, and other daemons another.
const OWN_RUN = 'mkdir -p /run/containerd && mount --bind "$D/run" /run/containerd'
const CHROOT_RUN = 'mkdir -p "$R/run/containerd" && mount --bind "$D/run" "$R/run/containerd"'
const DAEMON = 'containerd --config "$D/config.toml"'
const CLIENT = `${OWN_RUN} && exec "$@"`

/** Which containerd: 1.6 of Debian 12, or 2.1 and later. */
export type ContainerdRelease = 'debian' | 'current'

/** A running containerd. Disposing stops it and removes everything it held. */
export interface Containerd extends AsyncDisposable {
  /** Path of the gRPC socket. */
  readonly address: string
  /** The folder for `--hosts-dir` and for `config_path` of the CRI plugin (certs.d). */
  readonly hostsDirectory: string
  /** Where blobs are: `<contentStore>/blobs/sha256/<hex>`. */
  readonly contentStore: string
  /** Runs ctr in the engine's host; a failing command is a result. Default limit 120 s. */
  ctr(args: readonly string[], options?: RunOptions): Promise<CommandResult>
  /** Runs ctr and gives its trimmed stdout. @throws Error when the command fails */
  ctrOk(args: readonly string[], options?: RunOptions): Promise<string>
  /** Pulls and unpacks over plain HTTP, such as `127.0.0.1:5151/local/x:tag`. */
  pull(reference: string): Promise<void>
  stop(): Promise<void>
  kill(): Promise<void>
}

/**
 * Starts a containerd of its own. Needs root.
 * @param options.host the machine's own by default
 * @param options.release default `debian`
 */
export async function startContainerd(
  options: { host?: NetworkHost; release?: ContainerdRelease } = {},
): Promise<Containerd> {
  await sweepLabDirectories()
  const directory = await openLabDirectory('containerd')
  const D = directory.path
  const prefix = options.host?.prefix ?? []
  for (const name of ['certs.d', 'run']) mkdirSync(join(D, name))
  writeFileSync(join(D, 'config.toml'), configToml(D))
  const env = { D }
  const isCurrent = options.release === 'current'
  const script = isCurrent ? currentDaemon() : `${OWN_RUN} && exec tini -- ${DAEMON}`
  const daemon = startIsolatedChild({ name: 'containerd', script, env, prefix })
  const client = [
    'bash',
    '-euc',
    CLIENT,
    'ctr',
    ...(isCurrent ? chrootProgram('usr/bin/ctr') : ['ctr']),
  ]
  const address = ['--address', join(D, 'containerd.sock')]
  const dispose = async (): Promise<void> => {
    await daemon.stop()
    await removeIdleCgroups('default')
    await directory[Symbol.asyncDispose]()
  }
  const ctr: Containerd['ctr'] = async (args, runOptions = {}) => {
    const isolate = ['--mount', '--propagation', 'private', ...client, ...address]
    return await run('unshare', [...isolate, ...args], {
      timeoutMs: 120_000,
      prefix,
      ...runOptions,
      env: { D, ...LAB_ENVIRONMENT, ...runOptions.env },
    })
  }
  const ctrOk: Containerd['ctrOk'] = async (args, runOptions = {}) =>
    mustSucceed(await ctr(args, runOptions), `ctr ${args.join(' ')}`).stdout.trim()
  try {
    await daemon.waitForLine(/containerd successfully booted/)
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    address: join(D, 'containerd.sock'),
    hostsDirectory: join(D, 'certs.d'),
    contentStore: join(D, 'root/io.containerd.content.v1.content'),
    ctr,
    ctrOk,
    pull: async (reference) => {
      await ctrOk(['images', 'pull', '--plain-http', reference])
    },
    stop: async () => {
      await daemon.stop()
    },
    kill: async () => {
      await daemon.kill()
    },
    [Symbol.asyncDispose]: dispose,
  }
}

function currentDaemon(): string {
  const places = 'R=$D/chroot UPPER=$D/upper WORK=$D/work'
  return `${places}\n${chrootScript()}\n${CHROOT_RUN}\nexec tini -- chroot "$R" ${DAEMON}`
}

function configToml(directory: string): string {
  return `version = 2
root = "${directory}/root"
state = "${directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${directory}/containerd.sock"
`
}
