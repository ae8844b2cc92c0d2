import assert from 'node:assert/strict'
import { chown, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { fillHost, snapshotHost, type HostEntrySpec } from '../testing/host-snapshot.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { configFolders, ENGINE_NAMES, type EngineName, type PlanContext } from './engine-plan.ts'
import { HostTree } from './host-tree.ts'
import { installMirror } from './install-mirror.ts'
import { removeMirror } from './remove-mirror.ts'

type Host = Readonly<Record<string, HostEntrySpec>>

const CLASSIC = '{"features": {"containerd-snapshotter": false}}'
const OWN_HOSTS = '# ours\r\nserver = "https://corp.test"\r\n\r\n[host."https://near.test"]\r\n'
const STATE = 'var/lib/ddocker/mirror'

/** Hosts as users have them; every one must come back as it was. */
const HOSTS: Readonly<Record<string, Host>> = {
  'nothing but empty folders': { 'etc/docker': null },
  'nothing at all': {},
  'a daemon.json without a newline at its end': { 'etc/docker/daemon.json': CLASSIC },
  'a daemon.json with CRLF and mirrors': {
    'etc/docker/daemon.json':
      '{\r\n\t"features": {"containerd-snapshotter": false},\r\n\t"registry-mirrors": [\r\n\t\t"https://a.test"\r\n\t]\r\n}\r\n',
  },
  'an empty daemon.json beside a classic store': {
    'etc/docker/daemon.json': '',
    'var/lib/docker/image/overlay2/layerdb/sha256': null,
  },
  'folders of registries': {
    'etc/docker/certs.d/ca.test/ca.crt': 'CA',
    'etc/docker/certs.d/corp.test/hosts.toml': { text: OWN_HOSTS, mode: 0o600 },
    'etc/docker/certs.d/_default/hosts.toml': 'server = "https://all.test"',
  },
  'a containerd with comments and no registry table': {
    'etc/containerd/config.toml': '# mine\nversion = 2 # two\n[plugins]\n  [plugins.x]\n  y = 1',
  },
  'a containerd with an empty config_path': {
    'etc/containerd/config.toml':
      "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = ''\n  z = 1\n",
  },
  'a containerd of version 1': { 'etc/containerd/config.toml': 'oom_score = 1\r\n' },
  'a podman with its own entries': {
    'etc/containers/registries.conf': '[[registry]]\nlocation = "quay.io"\ninsecure = true\n',
    'etc/containers/registries.conf.d/99-late.conf': '[[registry]]\nlocation = "ghcr.io"\n',
  },
  'a buildkitd with mirrors': {
    'etc/buildkit/buildkitd.toml': {
      text: '[registry."docker.io"]\n  mirrors = [ "a.test" ] # near\n[registry."b.test"]\n  http = true',
      mode: 0o640,
    },
  },
  'links to where the files really are': {
    'etc/docker': { link: '/data/docker' },
    'data/docker/daemon.json': { link: '../real.json' },
    'data/real.json': CLASSIC,
    'etc/containerd/config.toml': { link: '/data/containerd.toml' },
    'data/containerd.toml': 'version = 2\n',
  },
}

for (const [name, host] of Object.entries(HOSTS)) {
  test(`changes nothing the second time, follows the node, and gives back to the byte: ${name}`, async () => {
    const engines = enginesOf(host)
    await using dir = await tempDir()
    await fillHost(dir.path, host)
    const before = await snapshotHost(dir.path)
    const planned = await install(dir.path, { engines, isDryRun: true })
    assert.deepEqual(await snapshotHost(dir.path), before, 'a dry run changes nothing')
    assert.deepEqual(await install(dir.path, { engines }), planned)
    const once = await snapshotHost(dir.path)
    assert.notDeepEqual(once, before)
    const again = await install(dir.path, { engines })
    assert.deepEqual(await snapshotHost(dir.path), once)
    assert.deepEqual(
      again.flatMap(({ changes, folders, afterwards }) => [...changes, ...folders, ...afterwards]),
      [],
    )
    await install(dir.path, { engines, address: '127.0.0.1:2222' })
    const moved = Object.entries(await snapshotHost(dir.path))
    assert.deepEqual(moved.filter(isStale), [])
    await remove(dir.path, { engines, isDryRun: true })
    assert.deepEqual(Object.entries(await snapshotHost(dir.path)), moved)
    await remove(dir.path, { engines })
    assert.deepEqual(await snapshotHost(dir.path), before)
  })
}

/** Those that the host has files of; all where it has none. */
function enginesOf(host: Host): readonly EngineName[] {
  const paths = Object.keys(host).join().replaceAll('containers', 'podman')
  const named = ENGINE_NAMES.filter((name) => paths.includes(`etc/${name}`))
  return named.length > 0 ? named : ENGINE_NAMES
}

/** Names the port of before outside the record. */
function isStale([path, entry]: [string, string]): boolean {
  const text = Buffer.from(entry.split(' ').at(-1) ?? '', 'base64').toString()
  return !path.startsWith(STATE) && text.includes('5151')
}

const USER_EDITS: readonly (readonly [
  string,
  Host,
  string,
  (text: string) => string,
  EngineName,
])[] = [
  [
    'a line at the end of config.toml',
    { 'etc/containerd/config.toml': 'version = 2' },
    'etc/containerd/config.toml',
    (text) => `${text}\n[debug]\nlevel = "info"\n`,
    'containerd',
  ],
  [
    'a line at the start of daemon.json',
    { 'etc/docker/daemon.json': CLASSIC },
    'etc/docker/daemon.json',
    (text) => text.replace('{', '{"debug": true,'),
    'docker',
  ],
  [
    'a host of the user at the end of our file',
    { 'etc/docker': null },
    'etc/docker/certs.d/_default/hosts.toml',
    (text) => `${text}[host."https://c.test"]\n`,
    'docker',
  ],
  [
    'a mirror in buildkitd.toml',
    { 'etc/buildkit/buildkitd.toml': '[registry."docker.io"]\nmirrors = ["a.test"]\n' },
    'etc/buildkit/buildkitd.toml',
    (text) => text.replace('"a.test"', '"a.test", "b.test"'),
    'buildkit',
  ],
]

for (const isInstalledAgain of [false, true]) {
  for (const [name, host, path, edit, engine] of USER_EDITS) {
    const when = isInstalledAgain ? 'and a later install' : ''
    test(`takes only its own part out after an edit ${when}: ${name}`, async () => {
      await using dir = await tempDir()
      await fillHost(dir.path, host)
      const original = typeof host[path] === 'string' ? host[path] : ''
      await install(dir.path, { engines: [engine] })
      const real = join(dir.path, path)
      await writeFile(real, edit(await readFile(real, 'utf8')))
      if (isInstalledAgain)
        await install(dir.path, { engines: [engine], address: '127.0.0.1:2222' })
      const { files } = await remove(dir.path, { engines: [engine] })
      const outcome = files.find((file) => `/${path}` === file.path)?.outcome
      // a later install takes the file with the edit as the user's
      assert.equal(outcome, isInstalledAgain ? 'restored' : 'cleaned')
      assert.equal(await readFile(real, 'utf8'), edit(original))
    })
  }
}

test('keeps the mode and the owner of a file', async () => {
  await using dir = await tempDir()
  const path = join(dir.path, 'etc/docker/daemon.json')
  // bits that no umask would leave to a new file
  await fillHost(dir.path, { 'etc/docker/daemon.json': { text: CLASSIC, mode: 0o666 } })
  if (process.getuid?.() === 0) await chown(path, 1234, 1235)
  const before = await stat(path)
  await install(dir.path, { engines: ['docker'] })
  const installed = await stat(path)
  await remove(dir.path, { engines: ['docker'] })
  const removed = await stat(path)
  const seen = [installed, removed].map(({ mode, uid, gid }) => ({ mode, uid, gid }))
  const { mode, uid, gid } = before
  assert.deepEqual(seen, [
    { mode, uid, gid },
    { mode, uid, gid },
  ])
})

test('takes its mirror out of a daemon.json that was written anew by a program', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker/daemon.json': CLASSIC })
  await install(dir.path, { engines: ['docker'] })
  const path = join(dir.path, 'etc/docker/daemon.json')
  const settings = JSON.parse(await readFile(path, 'utf8')) as object
  await writeFile(path, JSON.stringify({ debug: true, ...settings }, undefined, 8))
  await remove(dir.path, { engines: ['docker'] })
  assert.deepEqual(JSON.parse(await readFile(path, 'utf8')), {
    debug: true,
    features: { 'containerd-snapshotter': false },
  })
})

test('takes its host out of a hosts.toml in which it was changed', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker/certs.d/corp.test/hosts.toml': OWN_HOSTS })
  await install(dir.path, { engines: ['docker'] })
  const path = join(dir.path, 'etc/docker/certs.d/corp.test/hosts.toml')
  const text = await readFile(path, 'utf8')
  await writeFile(path, text.replace('["pull", "resolve"]', '["pull"]'))
  const { files } = await remove(dir.path, { engines: ['docker'] })
  assert.equal(files.find((file) => file.path.includes('corp'))?.outcome, 'cleaned')
  assert.equal(await readFile(path, 'utf8'), OWN_HOSTS)
})

test('leaves a file alone in which its part cannot be told, and says so', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/containers': null })
  await install(dir.path, { engines: ['podman'] })
  const path = join(dir.path, 'etc/containers/registries.conf.d/50-ddocker.conf')
  const edited = (await readFile(path, 'utf8')).replace('quay.io', 'example.test')
  await writeFile(path, edited)
  await install(dir.path, { engines: ['podman'] })
  assert.equal(await readFile(path, 'utf8'), edited)
  const { files } = await remove(dir.path, { engines: ['podman'] })
  assert.deepEqual(
    files.map(({ outcome }) => outcome),
    ['left'],
  )
  assert.equal(await readFile(path, 'utf8'), edited)
})

test('does not bring a file back that the user has removed', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker/daemon.json': CLASSIC })
  await install(dir.path, { engines: ['docker'] })
  const path = join(dir.path, 'etc/docker/daemon.json')
  await rm(path)
  const { files } = await remove(dir.path, { engines: ['docker'] })
  assert.equal(files.find((file) => file.path === '/etc/docker/daemon.json')?.outcome, 'gone')
  await assert.rejects(readFile(path), { code: 'ENOENT' })
})

const BROKEN: readonly (readonly [string, Host, RegExp])[] = [
  [
    'JSON that is none',
    { 'etc/docker/daemon.json': '{"a": 1,}' },
    /daemon\.json: wanted a JSON object/,
  ],
  ['JSON that is a list', { 'etc/docker/daemon.json': '[]' }, /daemon\.json: wanted a JSON object/],
  [
    'TOML that is none',
    { 'etc/containerd/config.toml': 'version = \n' },
    /config\.toml: wanted TOML.* in line 1/,
  ],
  [
    'bytes that are no text',
    { 'etc/buildkit/buildkitd.toml': Buffer.from([0x23, 0xff]) },
    /buildkitd\.toml: it is not UTF-8/,
  ],
  [
    'registries.conf that is none',
    { 'etc/containers/registries.conf': '[[registry' },
    /registries\.conf: wanted TOML/,
  ],
  [
    'a hosts.toml that is none',
    { 'etc/docker/certs.d/a.test/hosts.toml': 'host = [' },
    /a\.test\/hosts\.toml/,
  ],
  ['links in a circle', { 'etc/docker/daemon.json': { link: 'daemon.json' } }, /circle/],
  [
    'registry.mirrors of old',
    {
      'etc/containerd/config.toml':
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["https://a.test"]\n',
    },
    /registry\.mirrors is set/,
  ],
  [
    'a range of insecure registries',
    {
      'etc/docker/daemon.json':
        '{"features": {"containerd-snapshotter": true}, "insecure-registries": ["10.0.0.0/8"]}',
    },
    /range 10\.0\.0\.0\/8/,
  ],
  [
    'a mirror among the flags of dockerd',
    {
      'etc/docker/daemon.json': CLASSIC,
      'etc/default/docker': 'DOCKER_OPTS="--registry-mirror=https://a.test"\n',
    },
    /etc\/default\/docker/,
  ],
]

for (const [name, host, message] of BROKEN) {
  test(`refuses as a whole: ${name}`, async () => {
    await using dir = await tempDir()
    await fillHost(dir.path, host)
    const before = await snapshotHost(dir.path)
    await assert.rejects(install(dir.path), { code: 'MIRROR_FILE_INVALID', message })
    assert.deepEqual(await snapshotHost(dir.path), before)
  })
}

test('undoes what it did when a file cannot be written', async () => {
  await using dir = await tempDir()
  // the last engine's folder is a file
  await fillHost(dir.path, { 'etc/docker/daemon.json': CLASSIC, 'etc/buildkit': 'no folder' })
  const before = await snapshotHost(dir.path)
  await assert.rejects(install(dir.path), {
    code: 'MIRROR_FILE_UNWRITABLE',
    message: '/etc/buildkit/buildkitd.toml: wanted to write it, found ENOTDIR',
  })
  assert.deepEqual(await snapshotHost(dir.path), before)
})

test('keeps a folder that holds something of the user by now', async () => {
  await using dir = await tempDir()
  await install(dir.path, { engines: ['docker'] })
  await fillHost(dir.path, { 'etc/docker/certs.d/_default/notes': 'mine' })
  const { keptFolders } = await remove(dir.path, { engines: ['docker'] })
  assert.deepEqual(keptFolders, [
    '/etc/docker/certs.d/_default',
    '/etc/docker/certs.d',
    '/etc/docker',
    '/etc',
  ])
})

test('removes one engine and leaves the others', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker': null, 'etc/containers': null })
  await install(dir.path, { engines: ['podman'] })
  const podmanOnly = await snapshotHost(dir.path)
  await install(dir.path, { engines: ['docker'] })
  await remove(dir.path, { engines: ['docker'] })
  const left = await snapshotHost(dir.path)
  delete podmanOnly[`${STATE}/record.json`]
  delete left[`${STATE}/record.json`]
  assert.deepEqual(left, podmanOnly)
})

test('gives daemon.json back when the engine has the containerd store by now', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker/daemon.json': '{}' })
  const docker = { version: '29', mirrors: [], insecureRegistries: [], dataRoot: '/var/lib/docker' }
  await install(dir.path, { engines: ['docker'], docker: { ...docker, store: 'graphdriver' } })
  const path = join(dir.path, 'etc/docker/daemon.json')
  assert.match(await readFile(path, 'utf8'), /registry-mirrors/)
  await install(dir.path, { engines: ['docker'], docker: { ...docker, store: 'containerd' } })
  assert.equal(await readFile(path, 'utf8'), '{}')
})

test('takes folders away that a registry no longer needs, for they would hide the node', async () => {
  await using dir = await tempDir()
  const insecure = (...hosts: string[]) =>
    JSON.stringify({ features: { 'containerd-snapshotter': true }, 'insecure-registries': hosts })
  await fillHost(dir.path, {
    'etc/docker/daemon.json': insecure('a.test:5000', 'b.test', 'c.test'),
  })
  await install(dir.path, { engines: ['docker'] })
  await fillHost(dir.path, { 'etc/docker/daemon.json': insecure('c.test') })
  const before = await snapshotHost(join(dir.path, 'etc/docker/certs.d'))
  assert.ok('a.test:5000/hosts.toml' in before && 'b.test' in before)
  await install(dir.path, { engines: ['docker'] })
  assert.deepEqual(Object.keys(await snapshotHost(join(dir.path, 'etc/docker/certs.d'))), [
    '_default',
    '_default/hosts.toml',
    'c.test',
  ])
  await remove(dir.path, { engines: ['docker'] })
  assert.deepEqual(Object.keys(await snapshotHost(dir.path)), [
    'etc',
    'etc/docker',
    'etc/docker/daemon.json',
  ])
})

test('never leaves the tree, whatever its links say', async () => {
  await using outside = await tempDir()
  await using dir = await tempDir()
  await fillHost(outside.path, { 'daemon.json': CLASSIC })
  await fillHost(dir.path, {
    'etc/docker': { link: outside.path },
    'etc/containerd': { link: '../../../../../../../../..' },
    var: { link: outside.path },
  })
  const before = await snapshotHost(outside.path)
  await install(dir.path, { engines: ['docker', 'containerd'] })
  assert.deepEqual(await snapshotHost(outside.path), before)
  assert.match(
    await readFile(join(dir.path, outside.path, 'certs.d/_default/hosts.toml'), 'utf8'),
    /5151/,
  )
  assert.match(await readFile(join(dir.path, 'certs.d/_default/hosts.toml'), 'utf8'), /5151/)
})

interface Given extends Partial<Pick<PlanContext, 'address' | 'docker'>> {
  readonly engines?: readonly EngineName[]
  readonly isDryRun?: boolean
}

async function install(
  root: string,
  { engines = ENGINE_NAMES, isDryRun = false, ...given }: Given = {},
) {
  const tree = new HostTree(root)
  const context = {
    tree,
    folders: configFolders(),
    address: '127.0.0.1:5151',
    registries: [],
    ...given,
  }
  return await installMirror(context, {
    stateDir: await tree.resolve(`/${STATE}`),
    engines,
    isDryRun,
  })
}

async function remove(root: string, { engines = ENGINE_NAMES, isDryRun = false }: Given = {}) {
  const tree = new HostTree(root)
  return await removeMirror(tree, { stateDir: await tree.resolve(`/${STATE}`), engines, isDryRun })
}
