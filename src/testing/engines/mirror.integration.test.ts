/** `ddocker mirror` with real engines: a question through each of them, before, between and after. */
import assert from 'node:assert/strict'
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { checkMirror } from '../../mirror/check-mirror.ts'
import { configFolders } from '../../mirror/engine-plan.ts'
import { HostTree } from '../../mirror/host-tree.ts'
import { installMirror } from '../../mirror/install-mirror.ts'
import { removeMirror } from '../../mirror/remove-mirror.ts'
import { snapshotHost } from '../host-snapshot.ts'
import { mustRun, type CommandResult } from '../lab/child.ts'
import { startContainerd } from '../lab/containerd.ts'
import { startDdockerNode, type DdockerNode } from '../lab/ddocker-node.ts'
import { startDockerCtr } from '../lab/docker-ctr.ts'
import type { DockerEngine } from '../lab/docker-engine.ts'
import { startDockerGd } from '../lab/docker-gd.ts'
import { buildQuickImage } from '../lab/images.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { hostAt, openNetwork } from '../lab/network.ts'
import { openPodman } from '../lab/podman.ts'
import { chrootProgram } from '../lab/sid-chroot.ts'
import { makeTestAuthority } from '../lab/test-authority.ts'
import { startUpstreamRegistry } from '../lab/upstream-registry.ts'
import { tempDir } from '../temp-dir.ts'

// The engine's own folder as /etc/docker, a /var/lib of the test, and a /run with the pid file of the daemon and no
// systemd.
const AS_ITS_HOST = `
mkdir -p /etc/docker
mount --bind "$0/state" /var/lib
mount --bind "$1" /etc/docker
mount -t tmpfs run /run
pgrep -f "^dockerd .*--host $2" > /run/docker.pid
shift 2
exec "$@"
`
const PODMANS_HOST = `
mkdir -p /etc/containers
mount --bind "$0/state" /var/lib
mount --bind "$1" /etc/containers
mount -t tmpfs run /run
shift
exec "$@"
`

test('puts the node before a classic Docker, lets it read its settings again, and gives all back', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'docker-gd'])) return
  await using dir = await tempDir()
  await using node = await startDdockerNode({ discovery: 'none' })
  await using engine = await startDockerGd()
  mkdirSync(join(dir.path, 'state'))
  const before = await snapshotHost(engine.configDirectory)
  const script = [AS_ITS_HOST, dir.path, engine.configDirectory, engine.dockerHost]
  const prefix = ['unshare', '--mount', '--propagation', 'private', 'bash', '-euc', ...script]
  const run = (verb: string) =>
    node.cli(['mirror', verb, '--docker', '--docker-host', engine.dockerHost], { prefix })

  assert.match((await run('status')).stdout, /^docker +none +.*daemon\.json does not name the node/)
  const installed = await run('install')
  assert.equal(installed.code, 0, installed.stderr)
  assert.match(installed.stdout, /classic store \(as the engine says\): docker\.io only/)
  assert.match(installed.stdout, /reloaded by SIGHUP to dockerd/)
  await untilMirrors(engine, 1)
  const status = await run('status')
  assert.match(status.stdout, /^docker +hit +20\.10\S*, classic store, docker\.io only$/m)
  assert.equal(status.code, 0)

  await node.stop()
  const stopped = await run('status')
  assert.match(stopped.stdout, /^docker +not hit +the node does not run$/m)
  assert.equal(stopped.code, 3)

  const removed = await run('remove')
  assert.equal(removed.code, 0, removed.stderr)
  await untilMirrors(engine, 0)
  assert.deepEqual(await snapshotHost(engine.configDirectory), before)
})

test('tells that a classic Docker has not read its settings yet', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'docker-gd'])) return
  await using dir = await tempDir()
  await using node = await startDdockerNode({ discovery: 'none' })
  await using engine = await startDockerGd({
    daemonJson: { 'registry-mirrors': ['http://127.0.0.1:9'] },
  })
  const run = inTree(node, { root: dir.path, engine })
  const installed = await run('install')
  assert.match(installed.stdout, /now +Let Docker read daemon\.json again/)
  assert.match((await run('status')).stdout, /Docker has not read it yet/)
  await hangUp(engine)
  await untilMirrors(engine, 2)
  assert.match((await run('status')).stdout, /^docker +hit /)
})

test('puts the node before a Docker with the containerd store at once, for every registry', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'docker-ctr'])) return
  await using dir = await tempDir()
  await using node = await startDdockerNode({
    discovery: 'none',
    args: ['--log-level', 'debug'],
  })
  await using engine = await startDockerCtr({
    daemonJson: { 'insecure-registries': ['10.77.9.9:5000', 'plain.test'] },
  })
  mkdirSync(join(engine.configDirectory, 'certs.d/corp.test'), { recursive: true })
  writeFileSync(
    join(engine.configDirectory, 'certs.d/corp.test/hosts.toml'),
    'server = "https://corp.test"',
  )
  const before = await snapshotHost(engine.configDirectory)
  const run = inTree(node, { root: dir.path, engine })
  assert.match((await run('status')).stdout, /^docker +none +.*hosts\.toml is not there/)
  const installed = await run('install')
  assert.equal(installed.code, 0, installed.stderr)
  assert.doesNotMatch(readFileSync(join(engine.configDirectory, 'daemon.json'), 'utf8'), /mirrors/)
  const status = await run('status')
  assert.match(
    status.stdout,
    /^docker +hit +2\d\.\S+, containerd store, every registry\n +not plain\.test/,
  )
  assert.equal(status.code, 0)
  for (const [at, registry] of ['docker.io', 'ghcr.io', 'corp.test', '10.77.9.9:5000'].entries()) {
    await engine.docker(['pull', `${registry}/some/thing-${at}:1`])
    await node.logged(new RegExp(`/v2/some/thing-${at}/manifests/1`))
  }
  await run('remove')
  assert.match((await run('status')).stdout, /^docker +none /)
  assert.deepEqual(await snapshotHost(engine.configDirectory), before)
})

test('keeps registries without TLS, and with an authority of their own, within reach', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'docker-ctr', 'docker-registry'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 1 })
  const host = hostAt(network, 0)
  const authority = await makeTestAuthority()
  await using plain = await startUpstreamRegistry({ host })
  await using secure = await startUpstreamRegistry({
    host,
    authority,
    listen: `${host.address}:5443`,
  })
  await using node = await startDdockerNode({
    discovery: 'none',
    args: ['--log-level', 'debug'],
  })
  await using engine = await startDockerCtr({
    daemonJson: { 'insecure-registries': [plain.address] },
  })
  const certificates = join(engine.configDirectory, 'certs.d', secure.address)
  mkdirSync(certificates, { recursive: true })
  writeFileSync(join(certificates, 'ca.crt'), authority.certificate)
  await buildQuickImage(engine, { reference: 'quick:1' })
  const run = inTree(node, { root: dir.path, engine })
  assert.equal((await run('install')).code, 0)
  for (const [at, registry] of [plain.address, secure.address].entries()) {
    const name = `${registry}/team/app-${at}:1`
    await engine.dockerOk(['tag', 'quick:1', name])
    await engine.dockerOk(['push', name])
    await engine.dockerOk(['rmi', name])
    await engine.dockerOk(['pull', name])
    await node.logged(new RegExp(`/v2/team/app-${at}/manifests/1`))
  }
  // the node is a registry too, which the mirror for all others must not hide
  const pushed = `${node.registry}/local/app:1`
  await engine.dockerOk(['tag', 'quick:1', pushed])
  await engine.dockerOk(['push', pushed])
  await engine.dockerOk(['rmi', pushed])
  await engine.dockerOk(['pull', pushed])
})

for (const release of ['debian', 'current'] as const) {
  test(`puts the node before a containerd (${release})`, async (t) => {
    const programs = release === 'debian' ? 'containerd' : 'docker-ctr'
    if (!requireLab(t, ['linux', 'root', programs])) return
    await using dir = await tempDir()
    await using node = await startDdockerNode({ discovery: 'none' })
    await using engine = await startContainerd({ release })
    const config = join(dir.path, 'etc/containerd/config.toml')
    mkdirSync(join(config, '..'), { recursive: true })
    cpSync('/etc/containerd/config.toml', config)
    const before = await snapshotHost(dir.path)
    const program = (name: string) =>
      release === 'debian' ? [name] : chrootProgram(`usr/bin/${name}`)
    const bin = join(dir.path, '../bin')
    await using tools = await tempDir()
    const ctr = join(tools.path, 'ctr')
    writeFileSync(ctr, `#!/bin/sh\nexec ${program('ctr').join(' ')} "$@"\n`)
    chmodSync(ctr, 0o755)
    const env = {
      PATH:
        release === 'debian' ? process.env['PATH'] : `${tools.path}:${process.env['PATH'] ?? bin}`,
      CONTAINERD_ADDRESS: engine.address,
    }
    const run = (verb: string) =>
      node.cli(['mirror', verb, '--containerd', '--root', dir.path, '--registry', node.registry], {
        env,
      })

    assert.match((await run('status')).stdout, /^containerd +none /)
    assert.match((await run('install')).stdout, /now +Restart containerd/)
    const [containerd = '', ...args] = program('containerd')
    const dump = await mustRun(containerd, [...args, '--config', config, 'config', 'dump'])
    assert.match(dump.stdout, /config_path = ["']\/etc\/containerd\/certs\.d["']/)
    const status = await run('status')
    assert.match(status.stdout, /^containerd +hit +every registry\n/)
    assert.equal(status.code, 0)
    await run('remove')
    assert.deepEqual(await snapshotHost(dir.path), before)
  })
}

test('puts the node before Podman 4, Skopeo with it', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'podman'])) return
  await using dir = await tempDir()
  await using node = await startDdockerNode({ discovery: 'none' })
  await using engine = await openPodman()
  mkdirSync(join(dir.path, 'state'))
  const before = await snapshotHost(engine.configDirectory)
  const script = [PODMANS_HOST, dir.path, engine.configDirectory]
  const prefix = ['unshare', '--mount', '--propagation', 'private', 'bash', '-euc', ...script]
  const run = (verb: string) => node.cli(['mirror', verb, '--podman'], { prefix })
  assert.match((await run('status')).stdout, /^podman +none /)
  assert.equal((await run('install')).code, 0)
  const status = await run('status')
  assert.match(status.stdout, /^podman +hit +\d+ registries$/m)
  await run('remove')
  assert.deepEqual(await snapshotHost(engine.configDirectory), before)
})

test('puts the node before Podman 5', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'docker-ctr'])) return
  await using node = await startDdockerNode({ discovery: 'none' })
  await using engine = await openPodman({ release: 'current' })
  await using dir = await tempDir()
  const before = await snapshotHost(engine.configDirectory)
  const tree = new HostTree(join(engine.configDirectory, '..'))
  const context = {
    tree,
    folders: { ...configFolders(), containers: '/etc' },
    address: node.registry,
    registries: ['corp.test:5000'],
  }
  const options = { stateDir: join(dir.path, 'mirror'), engines: ['podman'] as const }
  await installMirror(context, options)
  const [state] = await checkMirror(['podman'], {
    ...context,
    installedAddresses: new Map([['podman', node.registry]]),
    isNodeRunning: true,
    run: async (_podman, args) => {
      const { code, stdout, stderr } = await engine.podman(args)
      return { code: code ?? undefined, stdout, stderr }
    },
    canRunPrograms: true,
    wasSeen: async (tag) => (await node.get(`/api/v1/probes/${tag}`)).body.includes('containers/'),
    signal: t.signal,
  })
  assert.equal(state?.state, 'hit', state?.message)
  await removeMirror(tree, options)
  assert.deepEqual(await snapshotHost(engine.configDirectory), before)
})

/** Runs `mirror` against a tree whose /etc/docker is the engine's. */
function inTree(
  node: DdockerNode,
  { root, engine }: { root: string; engine: DockerEngine },
): (verb: string) => Promise<CommandResult> {
  const mount = 'mkdir -p "$0/etc/docker"; mount --bind "$1" "$0/etc/docker"; shift; exec "$@"'
  const script = [mount, root, engine.configDirectory]
  const prefix = ['unshare', '--mount', '--propagation', 'private', 'bash', '-euc', ...script]
  const where = ['--root', root, '--registry', node.registry, '--docker-host', engine.dockerHost]
  return (verb) => node.cli(['mirror', verb, '--docker', ...where], { prefix })
}

/** Dockerd alone: the signal would end what it is wrapped in. */
async function hangUp({ dockerHost }: DockerEngine): Promise<void> {
  const found = await mustRun('pgrep', ['-f', `^dockerd .*--host ${dockerHost}`])
  process.kill(Number(found.stdout), 'SIGHUP')
}

/** Waits until a Docker that was told to has read its settings again. */
async function untilMirrors(engine: DockerEngine, count: number): Promise<void> {
  const deadline = AbortSignal.timeout(10_000)
  for (;;) {
    const mirrors = await engine.dockerOk(['info', '--format', '{{json .RegistryConfig.Mirrors}}'])
    if (((JSON.parse(mirrors) ?? []) as unknown[]).length === count) return
    deadline.throwIfAborted()
  }
}
