import assert from 'node:assert/strict'
import { test } from 'node:test'

import { fillHost, type HostEntrySpec } from '../testing/host-snapshot.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { planContainerd } from './containerd-plan.ts'
import { planDocker } from './docker-plan.ts'
import { configFolders, type DockerFacts, type PlanContext } from './engine-plan.ts'
import { findEngines } from './found-engines.ts'
import { HostTree } from './host-tree.ts'

type Host = Readonly<Record<string, HostEntrySpec>>

const FACTS: DockerFacts = {
  version: '28',
  store: 'containerd',
  mirrors: [],
  insecureRegistries: [],
  dataRoot: '/var/lib/docker',
}
const DEFAULT = '/etc/docker/certs.d/_default/hosts.toml'
const DAEMON = '/etc/docker/daemon.json'

/** A host, what its engine says, and the title and the files of the plan. */
const STORES: readonly (readonly [string, Host, DockerFacts | undefined, RegExp, string[]])[] = [
  ['the engine says containerd', {}, FACTS, /^containerd store \(as the engine says\)/, [DEFAULT]],
  [
    'the engine says classic',
    {},
    { ...FACTS, store: 'graphdriver' },
    /^classic store \(as the engine says\)/,
    [DAEMON, DEFAULT],
  ],
  [
    'daemon.json says containerd',
    { 'etc/docker/daemon.json': '{"features":{"containerd-snapshotter":true}}' },
    undefined,
    /^containerd store \(as daemon/,
    [DEFAULT],
  ],
  [
    'the engine knows better than daemon.json',
    { 'etc/docker/daemon.json': '{"features":{"containerd-snapshotter":false}}' },
    FACTS,
    /^containerd store/,
    [DEFAULT],
  ],
  [
    'layers in another data root',
    { 'etc/docker/daemon.json': '{"data-root":"/data"}', 'data/image/overlay2/layerdb': null },
    undefined,
    /^classic store \(by what is in \/data\)/,
    [DAEMON, DEFAULT],
  ],
  ['nobody knows', {}, undefined, /^store unknown/, [DEFAULT]],
]

for (const [name, host, docker, title, paths] of STORES) {
  test(`never gives a mirror over plain HTTP to the containerd store: ${name}`, async () => {
    const plan = await planned(planDocker, host, docker ? { docker } : {})
    assert.match(plan.title, title)
    assert.deepEqual(plan.paths, paths)
  })
}

test('keeps what insecure-registries means, which Docker ignores beside hosts.toml', async () => {
  const host = {
    'etc/docker/daemon.json':
      '{"insecure-registries": ["10.0.0.5:5000", "127.0.0.0/8", "localhost:5000", "plain.test"]}',
  }
  const docker = { ...FACTS, insecureRegistries: ['127.0.0.0/8', '::1/128', 'live.test:443'] }
  const { paths, folders } = await planned(planDocker, host, { docker })
  assert.deepEqual(paths, [
    DEFAULT,
    '/etc/docker/certs.d/10.0.0.5:5000/hosts.toml',
    '/etc/docker/certs.d/live.test:443/hosts.toml',
  ])
  assert.deepEqual(folders, ['/etc/docker/certs.d/plain.test'])
})

test('covers docker.io alone for BuildKit where a range of registries is insecure', async () => {
  const host = { 'etc/docker/daemon.json': '{"insecure-registries": ["10.0.0.0/8"]}' }
  const docker = { ...FACTS, store: 'graphdriver' as const }
  const { paths } = await planned(planDocker, host, { docker })
  assert.deepEqual(paths, [DAEMON, '/etc/docker/certs.d/docker.io/hosts.toml'])
})

test('tells of a mirror over plain HTTP that the user has given to the containerd store', async () => {
  const host = { 'etc/docker/daemon.json': '{"registry-mirrors": ["http://127.0.0.1:5151"]}' }
  const { remarks } = await planned(planDocker, host, { docker: FACTS })
  assert.match(remarks.join(), /weakens the check of docker\.io's certificate/)
})

const CONFIG = 'etc/containerd/config.toml'
const NAMED = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/a:/b"\n'

/** A config.toml, what containerd itself says, and the files with something put in. */
const FOLDERS: readonly (readonly [string, Host, readonly string[] | undefined, string[]])[] = [
  ['none is named', {}, undefined, ['/etc/containerd/certs.d/_default/hosts.toml', `/${CONFIG}`]],
  ['containerd has one by itself', {}, ['/c', '/d'], ['/d/_default/hosts.toml']],
  ['config.toml names two', { [CONFIG]: NAMED }, undefined, ['/b/_default/hosts.toml']],
  [
    'it has no CRI',
    { [CONFIG]: 'disabled_plugins = ["cri"]\n' },
    undefined,
    ['/etc/containerd/certs.d/_default/hosts.toml'],
  ],
]

for (const [name, host, hostsFolders, paths] of FOLDERS) {
  test(`finds the folder where containerd looks: ${name}`, async () => {
    const plan = await planned(planContainerd, host, hostsFolders ? { hostsFolders } : {})
    assert.deepEqual(plan.changed, paths)
  })
}

const FOUND: readonly (readonly [string, Host, boolean, string[]])[] = [
  ['an empty host', {}, false, []],
  [
    'programs',
    { 'usr/bin/dockerd': '', 'usr/sbin/crio': '', 'usr/local/bin/buildkitd': '' },
    false,
    ['docker', 'podman', 'buildkit'],
  ],
  ['folders', { 'etc/containerd': null, 'etc/containers': null }, false, ['containerd', 'podman']],
  [
    "Docker's own containerd, which pulls nothing",
    { 'etc/docker': null, [CONFIG]: 'disabled_plugins = ["cri"]' },
    false,
    ['docker'],
  ],
  [
    'a user of a host with programs',
    { 'usr/bin/dockerd': '', 'usr/bin/podman': '' },
    true,
    ['podman'],
  ],
  [
    'a user with a Docker of his own',
    { 'home/u/.config/docker/daemon.json': '{}' },
    true,
    ['docker'],
  ],
]

for (const [name, host, isUser, engines] of FOUND) {
  test(`finds the engines of ${name}`, async () => {
    await using dir = await tempDir()
    await fillHost(dir.path, host)
    const folders = configFolders(isUser ? { configHome: '/home/u/.config' } : undefined)
    assert.deepEqual(await findEngines(new HostTree(dir.path), folders), engines)
  })
}

async function planned(plan: typeof planDocker, host: Host, given: Partial<PlanContext>) {
  await using dir = await tempDir()
  await fillHost(dir.path, host)
  const tree = new HostTree(dir.path)
  const { title, edits, folders, remarks } = await plan({
    tree,
    folders: configFolders(),
    address: '127.0.0.1:5151',
    registries: [],
    isOurs: () => false,
    ...given,
  })
  const changed: string[] = []
  for (const { path, insert } of edits) {
    if (insert((await tree.read(path))?.text).length > 0) changed.push(path)
  }
  return { title, folders, remarks, changed, paths: edits.map(({ path }) => path) }
}
