import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import { fillHost, type HostEntrySpec } from '../testing/host-snapshot.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { checkMirror } from './check-mirror.ts'
import { readDockerFacts } from './docker-api.ts'
import type { CheckContext } from './engine-check.ts'
import { configFolders, type EngineName } from './engine-plan.ts'
import { HostTree } from './host-tree.ts'
import { isProbeTag } from './probe-name.ts'

type Host = Readonly<Record<string, HostEntrySpec>>

const ADDRESS = '127.0.0.1:5151'
const OURS = '[host."http://127.0.0.1:5151"]\ncapabilities = ["pull", "resolve"]\n'
const DEFAULT = 'etc/docker/certs.d/_default/hosts.toml'
const OWN_CONF = 'etc/containers/registries.conf.d/50-ddocker.conf'
const CONF = ['ddocker-probe.invalid', 'docker.io']
  .map(
    (host) =>
      `[[registry]]\nlocation = "${host}"\n[[registry.mirror]]\nlocation = "${ADDRESS}/${host}"\n`,
  )
  .join('')
const CTR = { DriverStatus: [['driver-type', 'io.containerd.snapshotter.v1']] }
const mirrors = (...names: string[]) => ({ RegistryConfig: { Mirrors: names } })

interface Case {
  readonly engine: EngineName
  readonly host: Host
  /** body of GET /info; without one no Docker answers */
  readonly docker?: object
  /** what the program that is asked ends with */
  readonly code?: number
  readonly given?: Partial<CheckContext>
  readonly state: string
  readonly message: RegExp
}

const CASES: Readonly<Record<string, Case>> = {
  'a Docker that asks the node': {
    engine: 'docker',
    host: { [DEFAULT]: OURS },
    docker: CTR,
    state: 'hit',
    message: /containerd store, every registry/,
  },
  'a Docker without its file': {
    engine: 'docker',
    host: {},
    docker: CTR,
    state: 'absent',
    message: /hosts\.toml is not there/,
  },
  'a Docker with another host first': {
    engine: 'docker',
    host: { [DEFAULT]: `[host."https://a.test"]\n${OURS}` },
    docker: CTR,
    state: 'missed',
    message: /names https:\/\/a\.test first/,
  },
  'a Docker whose file names somebody else': {
    engine: 'docker',
    host: { [DEFAULT]: '[host."https://a.test"]\n' },
    docker: CTR,
    state: 'missed',
    message: /does not name http:\/\/127\.0\.0\.1:5151/,
  },
  'a Docker that may not ask for tags': {
    engine: 'docker',
    host: { [DEFAULT]: OURS.replace(', "resolve"', '') },
    docker: CTR,
    state: 'missed',
    message: /lacks the capability resolve/,
  },
  'a Docker whose file is broken': {
    engine: 'docker',
    host: { [DEFAULT]: '[' },
    docker: CTR,
    state: 'missed',
    message: /wanted TOML/,
  },
  'a Docker whose question does not come': {
    engine: 'docker',
    host: { [DEFAULT]: OURS },
    docker: CTR,
    given: { wasSeen: () => Promise.resolve(false) },
    state: 'missed',
    message: /did not ask the node: no such host/,
  },
  'a Docker while no node runs': {
    engine: 'docker',
    host: { [DEFAULT]: OURS },
    docker: CTR,
    given: { isNodeRunning: false },
    state: 'missed',
    message: /^the node does not run/,
  },
  'a Docker after the node has moved': {
    engine: 'docker',
    host: { [DEFAULT]: OURS },
    docker: CTR,
    given: { installedAddresses: new Map([['docker', '127.0.0.1:1']]) },
    state: 'missed',
    message: /lead to 127\.0\.0\.1:1, the node is at 127\.0\.0\.1:5151/,
  },
  'a Docker that does not answer': {
    engine: 'docker',
    host: { [DEFAULT]: OURS },
    state: 'unproven',
    message: /no Docker answers/,
  },
  'a classic Docker that asks the node': {
    engine: 'docker',
    host: {},
    docker: mirrors('http://127.0.0.1:5151/'),
    state: 'hit',
    message: /classic store, docker\.io only/,
  },
  'a classic Docker with another mirror first': {
    engine: 'docker',
    host: {},
    docker: mirrors('https://a.test/', 'http://127.0.0.1:5151/'),
    state: 'missed',
    message: /another mirror comes first: https:\/\/a\.test/,
  },
  'a classic Docker that has not read its file': {
    engine: 'docker',
    host: { 'etc/docker/daemon.json': '{"registry-mirrors": ["http://127.0.0.1:5151"]}' },
    docker: mirrors(),
    state: 'missed',
    message: /has not read it yet/,
  },
  'a classic Docker without the mirror': {
    engine: 'docker',
    host: {},
    docker: mirrors(),
    state: 'absent',
    message: /daemon\.json does not name the node/,
  },
  'a containerd that asks the node': {
    engine: 'containerd',
    host: { 'etc/containerd/certs.d/_default/hosts.toml': OURS },
    given: { hostsFolders: ['/etc/containerd/certs.d'] },
    state: 'hit',
    message: /every registry/,
  },
  'a containerd whose CRI looks nowhere': {
    engine: 'containerd',
    host: { 'etc/containerd/certs.d/_default/hosts.toml': OURS },
    state: 'missed',
    message: /config\.toml names no folder/,
  },
  'a containerd without ctr': {
    engine: 'containerd',
    host: { 'etc/containerd/certs.d/_default/hosts.toml': OURS },
    given: {
      hostsFolders: ['/etc/containerd/certs.d'],
      wasSeen: () => Promise.resolve(false),
      run: () => Promise.resolve({ code: undefined, stdout: '', stderr: '' }),
    },
    state: 'unproven',
    message: /no ctr/,
  },
  'a podman that asks the node': {
    engine: 'podman',
    host: { [OWN_CONF]: CONF },
    state: 'hit',
    message: /^1 registry$/,
  },
  'a podman of another tree': {
    engine: 'podman',
    host: { [OWN_CONF]: CONF },
    given: { canRunPrograms: false },
    state: 'unproven',
    message: /another tree/,
  },
  'a podman without the file': {
    engine: 'podman',
    host: {},
    state: 'absent',
    message: /50-ddocker\.conf is not there/,
  },
  'a podman whose file leads elsewhere': {
    engine: 'podman',
    host: { [OWN_CONF]: CONF.replaceAll('5151', '1') },
    state: 'missed',
    message: /does not lead to 127\.0\.0\.1:5151/,
  },
  'a buildkitd with its file': {
    engine: 'buildkit',
    host: {
      'etc/buildkit/buildkitd.toml': '[registry."docker.io"]\nmirrors = ["127.0.0.1:5151"]\n',
    },
    state: 'unproven',
    message: /installed for 1 regist/,
  },
  'a buildkitd with another mirror first': {
    engine: 'buildkit',
    host: {
      'etc/buildkit/buildkitd.toml':
        '[registry."docker.io"]\nmirrors = ["a.test", "127.0.0.1:5151"]\n',
    },
    state: 'missed',
    message: /comes first for docker\.io/,
  },
  'a buildkitd without its file': {
    engine: 'buildkit',
    host: {},
    state: 'absent',
    message: /does not name the node/,
  },
}

for (const [name, { engine, host, docker, given, state, message }] of Object.entries(CASES)) {
  test(`tells how it stands with ${name}`, async (t) => {
    await using dir = await tempDir()
    await fillHost(dir.path, host)
    const socketPath = docker && (await startDocker(t, join(dir.path, 'd.sock'), docker))
    const facts = socketPath && (await readDockerFacts(socketPath, t.signal))
    const tags: string[] = []
    const [found] = await checkMirror([engine], {
      tree: new HostTree(dir.path),
      folders: configFolders(),
      address: ADDRESS,
      installedAddresses: new Map(),
      isNodeRunning: true,
      ...(facts && socketPath !== undefined && { docker: { facts, socketPath } }),
      run: () => Promise.resolve({ code: 1, stdout: '', stderr: 'ctr: not here\n' }),
      canRunPrograms: true,
      wasSeen: (tag) => {
        tags.push(tag)
        return Promise.resolve(true)
      },
      signal: t.signal,
      ...given,
    })
    assert.match(found?.message ?? '', message)
    assert.equal(found?.state, state)
    assert.ok(tags.every((tag) => isProbeTag(tag)))
    // a question is put only where the files are right
    assert.equal(tags.length, state === 'hit' ? 1 : 0)
  })
}

test('names the registries whose own folder hides the node', async (t) => {
  await using dir = await tempDir()
  await fillHost(dir.path, {
    [DEFAULT]: OURS,
    'etc/docker/certs.d/a.test/hosts.toml': OURS,
    'etc/docker/certs.d/b.test/ca.crt': '',
    'etc/docker/certs.d/c.test/hosts.toml': 'server = "https://c.test"',
  })
  const socketPath = await startDocker(t, join(dir.path, 'd.sock'), CTR)
  const facts = await readDockerFacts(socketPath, t.signal)
  assert.ok(facts)
  const [found] = await checkMirror(['docker'], {
    tree: new HostTree(dir.path),
    folders: configFolders(),
    address: ADDRESS,
    installedAddresses: new Map(),
    isNodeRunning: true,
    docker: { facts, socketPath },
    run: () => Promise.reject(new TypeError('nothing to run')),
    canRunPrograms: true,
    wasSeen: () => Promise.resolve(true),
    signal: t.signal,
  })
  assert.deepEqual(found?.remarks, [
    'not b.test, c.test: their own folder in /etc/docker/certs.d comes before _default',
  ])
})

/** An engine that says what it is, and knows no image. */
async function startDocker(t: TestContext, path: string, about: object): Promise<string> {
  const server = createServer((request, response) => {
    if (request.url === '/info') response.end(JSON.stringify({ ServerVersion: '1', ...about }))
    else response.end('{"status":"Pulling"}\r\n{"errorDetail":{"message":"no such host"}}\r\n')
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => server.close())
  return path
}
