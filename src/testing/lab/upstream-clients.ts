/**
 * Every engine and client that pulls images, set up so that names stay as they are: each asks the
 * node of its host first, and the registry itself when the node does not answer.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mustSucceed, run } from './child.ts'
import { startContainerd } from './containerd.ts'
import type { ContainerdRelease } from './containerd.ts'
import { LAB_ENVIRONMENT } from './debian-programs.ts'
import { startDockerCtr } from './docker-ctr.ts'
import type { DockerEngine } from './docker-engine.ts'
import { startDockerGd } from './docker-gd.ts'
import { runImage } from './images.ts'
import { openLabDirectory } from './lab-directory.ts'
import { openPodman } from './podman.ts'
import { skopeo } from './skopeo.ts'
import { FILES_COMMAND } from './upstream-images.ts'
import { STAGE_REGISTRIES } from './upstream-stage.ts'
import type { StagePlace } from './upstream-stage.ts'

const NODE = '127.0.0.1:5151'

// docs/hosts.md of containerd. Without a `server` the registry of the reference is asked last.
const HOSTS_TOML = `[host."http://${NODE}"]
  capabilities = ["pull", "resolve"]
`

/** What pulls images on one host. Disposing stops it and removes what it pulled. */
export interface PullClient extends AsyncDisposable {
  /** Pulls an image, such as `docker.io/lab/app:1`. @throws Error when that fails */
  pull(reference: string): Promise<void>
  /** Pulls an artifact that is no image; a client that cannot has none. */
  readonly pullArtifact?: (reference: string) => Promise<void>
  /** Runs `FILES_COMMAND` in an image that was pulled; a client without containers has none. */
  files?(reference: string): Promise<string>
}

/** A Docker with its engine, which can build too. */
export interface DockerClient extends PullClient {
  readonly engine: DockerEngine
  /** Builds an image on top of another one. @returns what is in its file `/built`: the base's name */
  build(base: string, builder: 'classic' | 'buildkit'): Promise<string>
}

/** The classic Docker, whose mirror is for docker.io only. */
export async function openGdClient({ host }: StagePlace): Promise<DockerClient> {
  const daemonJson = { 'registry-mirrors': [`http://${NODE}`] }
  return dockerClient(await startDockerGd({ host, daemonJson }))
}

/** A current Docker, with certs.d/_default/hosts.toml. */
export async function openCtrClient({ host }: StagePlace): Promise<DockerClient> {
  const engine = await startDockerCtr({ host })
  writeHostsToml(join(engine.configDirectory, 'certs.d'))
  const client = dockerClient(engine)
  return { ...client, pullArtifact: async (reference) => await client.pull(reference) }
}

/** containerd with its command line client, with certs.d/_default/hosts.toml. */
export async function openContainerdClient(
  { host }: StagePlace,
  release: ContainerdRelease,
): Promise<PullClient> {
  const containerd = await startContainerd({ host, release })
  const { hostsDirectory } = containerd
  writeHostsToml(hostsDirectory)
  let runs = 0
  return {
    pullArtifact: async (reference) => {
      await containerd.ctrOk(['content', 'fetch', '--hosts-dir', hostsDirectory, reference])
    },
    pull: async (reference) => {
      await containerd.ctrOk(['images', 'pull', '--hosts-dir', hostsDirectory, reference])
    },
    files: async (reference) => {
      runs += 1
      return await containerd.ctrOk(['run', '--rm', reference, `lab-${runs}`, ...FILES_COMMAND])
    },
    [Symbol.asyncDispose]: async () => await containerd[Symbol.asyncDispose](),
  }
}

/** Podman, with registries.conf.d. */
export async function openPodmanClient(
  { host }: StagePlace,
  release: 'debian' | 'current',
): Promise<PullClient> {
  const podman = await openPodman({ host, release })
  writeRegistriesConf(podman.configDirectory)
  const artifact = async (reference: string): Promise<void> => {
    await podman.podmanOk(['artifact', 'pull', '--quiet', reference])
  }
  return {
    ...(release === 'current' && { pullArtifact: artifact }),
    pull: async (reference) => {
      await podman.podmanOk(['pull', '--quiet', reference])
    },
    files: async (reference) =>
      await podman.podmanOk(['run', '--rm', '--network', 'none', reference, ...FILES_COMMAND]),
    [Symbol.asyncDispose]: async () => await podman[Symbol.asyncDispose](),
  }
}

/** skopeo, with registries.conf.d; each pull is a copy into a folder that is thrown away. */
export async function openSkopeoClient({ host }: StagePlace): Promise<PullClient> {
  writeRegistriesConf(host.containersDirectory)
  const pull = async (reference: string): Promise<void> => {
    await using copied = await openLabDirectory('skopeo')
    const command = ['copy', '--quiet', `docker://${reference}`, `dir:${copied.path}`]
    mustSucceed(await skopeo(command, { prefix: host.prefix }), `skopeo ${command.join(' ')}`)
  }
  return {
    pull,
    pullArtifact: pull,
    [Symbol.asyncDispose]: async () => await Promise.resolve(),
  }
}

/** buildah, with registries.conf.d: `FROM` of a Dockerfile is a pull. */
export async function openBuildahClient({ host }: StagePlace): Promise<PullClient> {
  writeRegistriesConf(host.containersDirectory)
  const directory = await openLabDirectory('buildah')
  const at = (name: string): string => join(directory.path, name)
  const places = ['--root', at('root'), '--runroot', at('run'), '--storage-driver', 'vfs']
  const buildah = async (...args: string[]): Promise<string> => {
    const result = await run('buildah', [...places, ...args], {
      timeoutMs: 120_000,
      prefix: host.prefix,
      env: { ...LAB_ENVIRONMENT, HOME: directory.path },
    })
    return mustSucceed(result, `buildah ${args.join(' ')}`).stdout.trim()
  }
  return {
    pull: async (reference) => {
      await using context = await openLabDirectory('context')
      const dockerfile = join(context.path, 'Dockerfile')
      writeFileSync(dockerfile, `FROM ${reference}\nLABEL lab=built\n`)
      await buildah('build', '--quiet', '--isolation', 'chroot', '--file', dockerfile, context.path)
    },
    files: async (reference) => {
      const container = await buildah('from', '--pull-never', reference)
      const folder = await buildah('mount', container)
      const { stdout } = await run('chroot', [folder, '/bin/busybox', ...FILES_COMMAND])
      await buildah('rm', container)
      return stdout.trim()
    },
    [Symbol.asyncDispose]: async () => {
      await buildah('rm', '--all')
      await directory[Symbol.asyncDispose]()
    },
  }
}

function dockerClient(engine: DockerEngine): DockerClient {
  return {
    engine,
    pull: async (reference) => {
      await engine.dockerOk(['pull', reference])
    },
    files: async (reference) => await runImage(engine, reference, FILES_COMMAND),
    build: async (base, builder) => {
      await using context = await openLabDirectory('context')
      writeFileSync(join(context.path, 'Dockerfile'), `FROM ${base}\nCOPY built /built\n`)
      writeFileSync(join(context.path, 'built'), base)
      const env = { DOCKER_BUILDKIT: builder === 'buildkit' ? '1' : '0' }
      await engine.dockerOk(['build', '--quiet', '--tag', 'lab/built:1', context.path], { env })
      return await runImage(engine, 'lab/built:1', ['cat', '/built'])
    },
    [Symbol.asyncDispose]: async () => await engine[Symbol.asyncDispose](),
  }
}

function writeHostsToml(directory: string): void {
  mkdirSync(join(directory, '_default'), { recursive: true })
  writeFileSync(join(directory, '_default/hosts.toml'), HOSTS_TOML)
}

/** containers-registries.conf(5): the path of a mirror tells the node which registry is meant. */
function writeRegistriesConf(directory: string): void {
  const entries = STAGE_REGISTRIES.map(
    (registry) => `[[registry]]
prefix = "${registry}"
location = "${registry}"
[[registry.mirror]]
location = "${NODE}/${registry}"
insecure = true
`,
  )
  writeFileSync(join(directory, 'registries.conf.d/50-ddocker.conf'), entries.join('\n'))
}
