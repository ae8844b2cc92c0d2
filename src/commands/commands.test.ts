import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import type { NodeOperations, ProgressEvent, SeedResult } from '../control/control-protocol.ts'
import { OperationError } from '../errors.ts'
import { digestOf, hexOf } from '../oci/digest.ts'
import type { ImageStatus, NodeStatus, PeerStatus, TransferStatus } from '../status/node-status.ts'
import { makeDataDir, runLine, startFakeNode } from '../testing/command-line.ts'
import type { NodeModule } from './node-module.ts'

const MIB = 1024 * 1024
const DIGEST = digestOf('some manifest')
const SHORT = hexOf(DIGEST).slice(0, 12)
const bytes = { store: 1 * MIB, peers: 9 * MIB, upstream: 0 }

/** A line against a fake node, and what the node was asked. */
async function ask(t: TestContext, argv: readonly string[], given: Partial<NodeOperations>) {
  const dataDir = await startFakeNode(t, given)
  return await runLine([...argv, '--data-dir', dataDir])
}

const failure = new OperationError('IMAGE_UNKNOWN', 'the engine has no such image').toJSON()
const seeded = { reference: 'app:1', digest: DIGEST, size: 10 * MIB, blobs: 3, newBytes: 2 * MIB }

test('seed shares the images that it names, and says what was new', async (t) => {
  const requests: unknown[] = []
  const said = await ask(t, ['seed', 'app:1', 'b'], {
    seed: (request) => {
      requests.push(request)
      return Promise.resolve({ images: [seeded], failed: [] })
    },
  })
  assert.deepEqual(requests, [{ references: ['app:1', 'b'] }])
  assert.equal(said.exitCode, 0)
  assert.equal(
    said.stdout,
    `IMAGE  DIGEST        BLOBS      SIZE      NEW\napp:1  ${SHORT}      3  10.0 MiB  2.0 MiB\n`,
  )
})

test('what failed in part ends with 3, what failed altogether with 1', async (t) => {
  const failed = [{ reference: 'b', error: failure }]
  const seed = (result: SeedResult): Partial<NodeOperations> => ({
    seed: (_, { report }) => {
      for (const { reference, error } of result.failed) {
        report({ type: 'image', reference, state: 'failed', message: error.message })
      }
      return Promise.resolve(result)
    },
  })
  const inPart = await ask(t, ['seed', 'app:1', 'b'], seed({ images: [seeded], failed }))
  assert.equal(inPart.exitCode, 3)
  assert.match(inPart.stdout, /^app:1 /m)
  assert.equal(
    inPart.stderr,
    `b  failed\nfailed  b: the engine has no such image\nerror: 1 of 2 images failed\n  hint: ${failure.hint}\n`,
  )
  const whole = await ask(t, ['seed', 'b', '--json'], seed({ images: [], failed }))
  assert.equal(whole.exitCode, 1)
  assert.deepEqual(JSON.parse(whole.stdout), { images: [], failed })
  assert.equal(whole.stderr, 'b  failed\n')
  const told = await ask(t, ['seed', 'b', '--quiet'], seed({ images: [], failed }))
  assert.equal(
    told.stderr,
    `failed  b: the engine has no such image\nerror: 1 image failed\n  hint: ${failure.hint}\n`,
  )
})

test('seed-all tells whether to watch', async (t) => {
  const requests: unknown[] = []
  const seedAll: NodeOperations['seedAll'] = (request) => {
    requests.push(request)
    return Promise.resolve({ images: [], failed: [] })
  }
  assert.equal((await ask(t, ['seed-all'], { seedAll })).stdout, 'nothing to share\n')
  await ask(t, ['seed-all', '--watch'], { seedAll })
  assert.deepEqual(requests, [{ watch: false }, { watch: true }])
})

test('import sends an absolute path, and the name if there is one', async (t) => {
  const requests: unknown[] = []
  const operation: NodeOperations['import'] = (request) => {
    requests.push(request)
    return Promise.resolve({ images: [seeded], failed: [] })
  }
  await ask(t, ['import', 'a.tar'], { import: operation })
  await ask(t, ['import', '/b.tar', '--name', 'app:1'], { import: operation })
  assert.deepEqual(requests, [{ path: '/nonexistent/a.tar' }, { path: '/b.tar', name: 'app:1' }])
})

test('pull shows its way on stderr and its end on stdout', async (t) => {
  const requests: unknown[] = []
  const blob = {
    type: 'blob',
    reference: 'app:1',
    digest: DIGEST,
    role: 'layer',
    size: 10 * MIB,
  } as const
  const events: ProgressEvent[] = [
    { type: 'image', reference: 'app:1', state: 'resolving' },
    { ...blob, done: 0, bytes: { store: 0, peers: 0, upstream: 0 }, state: 'waiting' },
    { ...blob, done: 10 * MIB, bytes, state: 'done' },
    { type: 'image', reference: 'app:1', state: 'done' },
  ]
  const pull: NodeOperations['pull'] = async (request, { report }) => {
    requests.push(request)
    for (const event of events) report(event)
    const result = { reference: 'app:1', digest: DIGEST, size: 10 * MIB, bytes, ms: 2000 }
    return { ...result, loaded: request.load, ...(request.load && { engineReference: 'app:1' }) }
  }
  const said = await ask(t, ['pull', 'app:1'], { pull })
  assert.equal(
    said.stdout,
    `app:1  ${SHORT}  10.0 MiB in 2.0 s (5.0 MiB/s)\nfrom peers 9.0 MiB, store 1.0 MiB\nloaded as app:1\n`,
  )
  assert.equal(
    said.stderr,
    [
      'app:1  resolving',
      `app:1  layer ${SHORT}  10.0 MiB  done  from peers 9.0 MiB, store 1.0 MiB`,
      'app:1  done',
      '',
    ].join('\n'),
  )
  const quiet = await ask(t, ['pull', 'app:1', '--no-load', '--quiet'], { pull })
  assert.equal(quiet.stderr, '')
  assert.match(quiet.stdout, /^kept in the node$/m)
  assert.deepEqual(requests, [
    { reference: 'app:1', load: true },
    { reference: 'app:1', load: false },
  ])
})

test('warm shows every node, and what failed with the reason', async (t) => {
  const requests: unknown[] = []
  const node = { nodeId: 'aa', address: '10.0.0.1:6881', size: 10 * MIB, bytes, ms: 1500 }
  const good = { ...node, nodeName: 'web-1', state: 'done', loaded: true } as const
  const bad = {
    ...node,
    nodeName: 'web-2',
    state: 'failed',
    loaded: false,
    error: failure,
  } as const
  const warm = (nodes: readonly (typeof good | typeof bad)[]): Partial<NodeOperations> => ({
    warm: (request) => {
      requests.push(request)
      return Promise.resolve({ nodes })
    },
  })
  const done = await ask(
    t,
    ['warm', 'a', 'b', '--nodes', 'web-1, web-2,', '--load', '--parallel', '3'],
    warm([good]),
  )
  assert.equal(done.exitCode, 0)
  assert.equal(
    done.stdout,
    'NODE   ADDRESS        STATE      SIZE    PEERS  UPSTREAM    STORE   TIME  LOADED\n' +
      'web-1  10.0.0.1:6881  done   10.0 MiB  9.0 MiB       0 B  1.0 MiB  1.5 s  yes\n',
  )
  const inPart = await ask(t, ['warm', 'a'], warm([good, bad]))
  assert.equal(inPart.exitCode, 3)
  assert.equal(
    inPart.stderr,
    `failed  web-2: the engine has no such image\nerror: 1 of 2 nodes failed\n  hint: ${failure.hint}\n`,
  )
  assert.equal((await ask(t, ['warm', 'a', '--json'], warm([bad]))).exitCode, 1)
  assert.deepEqual(requests.slice(0, 2), [
    { references: ['a', 'b'], nodes: ['web-1', 'web-2'], load: true, parallel: 3 },
    { references: ['a'], load: false, parallel: 16 },
  ])
})

test('ls has a row for every name, and lets no name steer the terminal', async (t) => {
  const image = { digest: DIGEST, mediaType: 'x', size: 10 * MIB, blobs: 4 }
  const images: ImageStatus[] = [
    { ...image, name: 'app:1', names: ['app:1', 'ghcr.io/me/app:1'], complete: true },
    { ...image, names: [], complete: false },
    { ...image, names: ['evil\u001B[2J\nx'], complete: true },
  ]
  const list = () => Promise.resolve({ images })
  const said = await ask(t, ['ls'], { list })
  assert.equal(
    said.stdout,
    [
      'IMAGE             DIGEST        BLOBS      SIZE  STATE',
      `app:1             ${SHORT}      4  10.0 MiB  complete`,
      `ghcr.io/me/app:1  ${SHORT}      4  10.0 MiB  complete`,
      `<none>            ${SHORT}      4  10.0 MiB  partial`,
      `evil?[2J?x        ${SHORT}      4  10.0 MiB  complete`,
      '',
    ].join('\n'),
  )
  assert.deepEqual(JSON.parse((await ask(t, ['ls', '--json'], { list })).stdout), { images })
})

test('peers shows who is there and what went both ways', async (t) => {
  const peer: PeerStatus = {
    nodeId: 'ab'.repeat(32),
    nodeName: 'web-1',
    address: '10.0.0.1:6881',
    version: '0.1.0',
    state: 'banned',
    seenAtMs: Date.now() + 60_000,
    bytes: { from: 3 * MIB, to: 0 },
    badPieces: 2,
    reason: 'wrong pieces',
  }
  const peers = () => Promise.resolve({ peers: [peer] })
  const said = await ask(t, ['peers'], { peers })
  assert.equal(
    said.stdout,
    'NODE   ADDRESS        VERSION  FROM IT  TO IT      SEEN  STATE\n' +
      'web-1  10.0.0.1:6881  0.1.0    3.0 MiB    0 B  0 ms ago  banned, 2 bad pieces, wrong pieces\n',
  )
  assert.deepEqual(JSON.parse((await ask(t, ['peers', '--json'], { peers })).stdout), {
    peers: [peer],
  })
})

const transfer: TransferStatus = {
  digest: DIGEST,
  size: 20 * MIB,
  bytes: { store: 0, peers: 5 * MIB, upstream: 0 },
  firstByteMs: 3,
  ms: 1000,
  state: 'moving',
  startedAtMs: 0,
  peers: [{ peer: '10.0.0.1:6881', bytes: 5 * MIB }],
}
const nodeStatus: NodeStatus = {
  nodeId: 'ab'.repeat(32),
  nodeName: 'laptop',
  swarmId: '0123456789abcdef',
  swarm: 'closed',
  version: '0.1.0',
  uptimeMs: 61_000,
  registry: '127.0.0.1:1',
  peerPort: 6881,
  engine: { host: 'unix:///run/d.sock', version: '28.5', store: 'containerd', driver: 'overlayfs' },
  blobs: { count: 1, bytes: 2 * MIB },
  images: 2,
  peers: 3,
  dhtNodes: 4,
  moving: 1,
  memoryBytes: 100 * MIB,
  published: null,
  bannedPeers: [],
  lastFailures: [{ atMs: 0, code: 'DISK_FULL', message: 'no room', hint: 'Make some.' }],
}

/** The HTTP side of a node: its transfers. */
async function startRegistry(t: TestContext): Promise<string> {
  const done = { ...transfer, state: 'done' }
  const server = createServer((request, response) => {
    if (!['/v2/', '/api/v1/transfers'].includes(request.url ?? '')) response.statusCode = 404
    response.end(JSON.stringify({ transfers: [transfer, done] }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('swarm members shows this node first, and what each of them holds', async (t) => {
  const peer: PeerStatus = {
    nodeId: 'cd'.repeat(32),
    nodeName: 'web-1',
    address: '10.0.0.1:6881',
    version: '0.1.0',
    state: 'member',
    seenAtMs: Date.now() + 60_000,
    bytes: { from: 3 * MIB, to: 0 },
    badPieces: 0,
    holds: { blobs: 7, bytes: 5 * MIB },
  }
  const silent: PeerStatus = { ...peer, nodeName: 'web\u001b[2J', state: 'banned' }
  const { holds: _, ...uncounted } = silent
  const given = {
    status: () => Promise.resolve(nodeStatus),
    peers: () => Promise.resolve({ peers: [peer, uncounted] }),
  }
  const said = await ask(t, ['swarm', 'members'], given)
  assert.equal(
    said.stdout,
    'NODE     ID            ADDRESS        VERSION         HOLDS      SEEN  STATE\n' +
      'laptop   abababababab                 0.1.0    2.0 MiB in 1            this node\n' +
      'web-1    cdcdcdcdcdcd  10.0.0.1:6881  0.1.0    5.0 MiB in 7  0 ms ago  member\n' +
      'web?[2J  cdcdcdcdcdcd  10.0.0.1:6881  0.1.0                  0 ms ago  banned\n',
  )
  const json = JSON.parse((await ask(t, ['swarm', 'members', '--json'], given)).stdout) as {
    members: object[]
  }
  assert.deepEqual(
    json.members.map((member) => Object.keys(member).length),
    [6, 7, 6],
  )
})

test('status shows the node, what moves, and what failed last', async (t) => {
  const registry = await startRegistry(t)
  const status = () => Promise.resolve({ ...nodeStatus, registry })
  const { stdout } = await ask(t, ['status'], { status })
  const [node = '', moving = '', failures = ''] = stdout.split('\n\n')
  assert.equal(
    node,
    [
      'node       laptop  abababababab',
      'version    0.1.0, up 1 m 1 s, 100 MiB of memory',
      'swarm      0123456789abcdef (closed)',
      `registry   ${registry}  (status page http://${registry}/)`,
      'peer port  6881',
      'engine     28.5, containerd store (overlayfs)  unix:///run/d.sock',
      'holds      2 images, 1 blob, 2.0 MiB',
      'peers      3 nodes in contact, 4 nodes in the DHT',
      'moving     1 blob',
    ].join('\n'),
  )
  assert.equal(
    moving,
    `BLOB              SIZE  DONE   TIME  FROM         PEERS\n${SHORT}  20.0 MiB  25 %  1.0 s  peers 100 %      1`,
  )
  assert.match(
    failures,
    /^last failures\n {2}\d+ h \d+ m ago {2}DISK_FULL: no room\n {4}hint: Make some\.\n$/,
  )
  const json = JSON.parse((await ask(t, ['status', '--json'], { status })).stdout) as object
  assert.deepEqual(json, { ...nodeStatus, registry, transfers: [transfer] })
})

test('status of a node whose registry does not answer says which address it asked', async (t) => {
  const said = await ask(t, ['status'], { status: () => Promise.resolve(nodeStatus) })
  assert.equal(said.exitCode, 1)
  assert.match(
    said.stderr,
    /^error: http:\/\/127\.0\.0\.1:1\/api\/v1\/transfers: wanted JSON, found: /,
  )
})

const torrentResult = {
  reference: 'app:1',
  digest: DIGEST,
  size: MIB,
  infoHash: 'aa'.repeat(20),
  magnet: 'magnet:?xt=urn:btih:aa',
}

test('torrent writes a file for every blob into a folder that it makes', async (t) => {
  const folder = join(await makeDataDir(t), 'new', 'folder')
  const metainfo = Buffer.from('d4:infode').toString('base64')
  const torrent = () => Promise.resolve({ torrents: [{ ...torrentResult, metainfo }] })
  const path = join(folder, `${hexOf(DIGEST)}.torrent`)
  const said = await ask(t, ['torrent', 'app:1', '-o', folder], { torrent })
  assert.equal(said.stdout, `app:1  1.0 MiB\n  ${path}\n  magnet:?xt=urn:btih:aa\n`)
  assert.deepEqual(await readdir(folder), [`${hexOf(DIGEST)}.torrent`])
  assert.equal(await readFile(path, 'utf8'), 'd4:infode')
  const json = await ask(t, ['torrent', 'app:1', '-o', folder, '--json'], { torrent })
  assert.deepEqual(JSON.parse(json.stdout), { torrents: [{ ...torrentResult, path }] })
})

test('torrent writes nothing outside its folder, whatever the node says', async (t) => {
  const folder = await makeDataDir(t)
  const torrents = [{ ...torrentResult, digest: 'sha256:../../evil', metainfo: '' }]
  const said = await ask(t, ['torrent', 'a', '-o', folder], {
    torrent: () => Promise.resolve({ torrents }),
  })
  assert.equal(said.exitCode, 2)
  assert.match(said.stderr, /^error: wanted sha256:<64 hex digits>/)
  assert.deepEqual(await readdir(folder), [])
})

test('torrent needs a folder', async (t) => {
  const file = join(await makeDataDir(t), 'file')
  await writeFile(file, '')
  const torrent = () => Promise.resolve({ torrents: [] })
  const said = await ask(t, ['torrent', 'a', '-o', join(file, 'x')], { torrent })
  assert.equal(said.exitCode, 2)
  assert.match(said.stderr, /wanted a folder to write to, found ENOTDIR/)
})

test('swarm id and swarm invite print exactly one line', async (t) => {
  const given: Partial<NodeOperations> = {
    swarmId: () => Promise.resolve({ swarmId: '0123456789abcdef' }),
    swarmInvite: () => Promise.resolve({ invite: 'dd1-abc' }),
  }
  assert.equal((await ask(t, ['swarm', 'id'], given)).stdout, '0123456789abcdef\n')
  assert.equal((await ask(t, ['swarm', 'invite'], given)).stdout, 'dd1-abc\n')
  const json = await ask(t, ['swarm', 'invite', '--json'], given)
  assert.deepEqual(JSON.parse(json.stdout), { invite: 'dd1-abc' })
})

test('what works without a node opens the data directory itself, and closes it', async (t) => {
  const dataDir = await makeDataDir(t)
  const steps: string[] = []
  const refuse = () => Promise.reject(new TypeError('not asked for'))
  const nodeModule: NodeModule = {
    openNode: refuse,
    openOffline: (config) => {
      steps.push(`open ${config.dataDir} ${config.swarm}`)
      return Promise.resolve({
        operations: {
          import: () => Promise.resolve({ images: [seeded], failed: [] }),
          torrent: () => Promise.resolve({ torrents: [] }),
          swarmId: () => Promise.resolve({ swarmId: 'from disk' }),
          swarmInvite: () => Promise.reject(new OperationError('SWARM_KEY_INVALID', 'no key')),
          swarmRotate: refuse,
          swarmRevoke: refuse,
        },
        [Symbol.asyncDispose]: () => {
          steps.push('close')
          return Promise.resolve()
        },
      })
    },
  }
  const run = (...argv: string[]) => runLine([...argv, '--data-dir', dataDir], { nodeModule })
  assert.equal((await run('swarm', 'id', '--swarm', 'public')).stdout, 'from disk\n')
  assert.match((await run('import', 'x')).stdout, /^app:1 /m)
  assert.equal((await run('torrent', 'x', '-o', dataDir)).exitCode, 0)
  assert.match((await run('swarm', 'invite')).stderr, /^error: no key/)
  const once = ['open DIR closed', 'close']
  assert.deepEqual(
    steps.map((step) => step.replace(dataDir, 'DIR')),
    ['open DIR public', 'close', ...once, ...once, ...once],
  )
})

test('serve prints one line when it is ready, and drains when it is told to stop', async (t) => {
  const dataDir = await makeDataDir(t)
  const ready = { registry: '127.0.0.1:1', peerPort: 2, nodeId: 'ab', nodeName: 'n', swarmId: 'cd' }
  const steps: string[] = []
  const stop = new AbortController()
  const nodeModule: NodeModule = {
    openOffline: () => Promise.reject(new TypeError('not asked for')),
    openNode: (config) => {
      steps.push(`open ${config.peerPort} ${config.discovery.join()}`)
      setImmediate(() => stop.abort(new OperationError('INTERRUPTED', 'interrupted')))
      const close = () => Promise.resolve(void steps.push('close'))
      return Promise.resolve({
        ready,
        get operations(): never {
          throw new TypeError('not asked for')
        },
        [Symbol.asyncDispose]: close,
      })
    },
  }
  const argv = [
    'serve',
    '--data-dir',
    dataDir,
    '--peer-port',
    '0',
    '--discovery',
    'none',
    '--log-level',
    'silent',
  ]
  const said = await runLine(argv, { nodeModule, signal: stop.signal })
  assert.deepEqual(said, { exitCode: 0, stdout: `ready ${JSON.stringify(ready)}\n`, stderr: '' })
  assert.deepEqual(steps, ['open 0 none', 'close'])
})

test('a node that cannot start says why', async (t) => {
  const dataDir = await makeDataDir(t)
  const refuse = () => Promise.reject(new OperationError('PORT_IN_USE', 'port 5151 is in use'))
  const said = await runLine(['serve', '--data-dir', dataDir], {
    nodeModule: { openNode: refuse, openOffline: refuse },
  })
  assert.equal(said.exitCode, 1)
  assert.equal(said.stdout, '')
  assert.match(said.stderr, /^error: port 5151 is in use\n {2}hint: /)
})

test('doctor finds a healthy node healthy', async (t) => {
  const registry = await startRegistry(t)
  const said = await ask(t, ['doctor'], {
    status: () => Promise.resolve({ ...nodeStatus, registry }),
  })
  assert.equal(said.exitCode, 0, said.stdout)
  assert.match(
    said.stdout,
    /^ok {4}running node {4}laptop, version 0\.1\.0, swarm 0123456789abcdef$/m,
  )
  assert.match(said.stdout, /^ok {4}registry .* answers$/m)
  assert.match(
    said.stdout,
    /^ok {4}engine .* 28\.5, containerd store \(overlayfs\) at unix:\/\/\/run\/d\.sock$/m,
  )
  assert.match(said.stdout, /^ok {4}peers +3 nodes in contact, 4 in the DHT$/m)
})
