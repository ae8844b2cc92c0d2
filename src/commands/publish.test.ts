import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import type { NodeOperations, PublishResult } from '../control/control-protocol.ts'
import { OperationError } from '../errors.ts'
import { digestOf, hexOf } from '../oci/digest.ts'
import { makeDataDir, runLine, startFakeNode } from '../testing/command-line.ts'

const MIB = 1024 * 1024
const DIGEST = digestOf('some manifest')
const LAYER = digestOf('some layer')
const SHORT = hexOf(DIGEST).slice(0, 12)
const layer = {
  digest: LAYER,
  role: 'layer',
  size: 2 * MIB,
  infoHash: 'aa'.repeat(20),
  magnet: 'magnet:?xt=urn:btih:aa',
} as const
const image = { reference: 'app:1', digest: DIGEST, own: false, absentBlobs: 0, blobs: [layer] }
const publicNode = { nodeId: 'ab'.repeat(32), nodeName: 'public-abababab', port: 6882 }
const done: PublishResult = {
  swarm: 'closed',
  images: [image],
  failed: [],
  publicNode,
  isFirst: false,
}
const refused = new OperationError('PUBLICATION_REFUSED', 'a login is needed').toJSON()

async function ask(t: TestContext, argv: readonly string[], given: Partial<NodeOperations>) {
  const dataDir = await startFakeNode(t, given)
  return await runLine([...argv, '--data-dir', dataDir])
}

test('publish prints a link for every blob, and asks for what was typed', async (t) => {
  const requests: unknown[] = []
  const publish: NodeOperations['publish'] = async (request) => (requests.push(request), done)
  const said = await ask(t, ['publish', 'app:1'], { publish })
  assert.equal(said.exitCode, 0)
  assert.equal(
    said.stdout,
    `app:1  ${SHORT}  2.0 MiB\n  layer 2.0 MiB\n    magnet:?xt=urn:btih:aa\n`,
  )
  await ask(t, ['publish', 'a', 'b', '--own', '--address', 'host:1'], { publish })
  assert.deepEqual(requests, [
    { references: ['app:1'], own: false, metainfo: false },
    { references: ['a', 'b'], own: true, metainfo: false, address: 'host:1' },
  ])
})

test('who publishes for the first time is told who learns what, and each time that it is for good', async (t) => {
  const publish = (result: PublishResult) => ({ publish: () => Promise.resolve(result) })
  const first = await ask(t, ['publish', 'app:1'], publish({ ...done, isFirst: true }))
  assert.match(first.stderr, /at port 6882 \(TCP and UDP\); what others copy cannot be taken back/)
  assert.match(first.stderr, /Everybody can have these images/)
  const later = await ask(t, ['publish', 'app:1'], publish(done))
  assert.match(later.stderr, /cannot be taken back/)
  assert.doesNotMatch(later.stderr, /Everybody can have/)
  const open = await ask(t, ['publish', 'app:1'], publish({ ...done, swarm: 'public' }))
  assert.match(open.stderr, /all that it holds is public already/)
  const json = await ask(t, ['publish', 'app:1', '--json'], publish(done))
  assert.deepEqual(JSON.parse(json.stdout), done)
})

test('publish says what of an image index is public, and what is not here', async (t) => {
  const held = { ...image, manifests: { held: 1, listed: 5 }, absentBlobs: 2, blobs: [] }
  const said = await ask(t, ['publish', 'app:1'], {
    publish: () => Promise.resolve({ ...done, images: [held] }),
  })
  assert.match(said.stdout, /1 of 5 manifests of its index: those that are here/)
  assert.match(said.stdout, /without 2 blobs not here/)
})

test('what is refused ends with its reason and what to do', async (t) => {
  const failed = [{ reference: 'mine:1', error: refused }]
  const given = (images: PublishResult['images']) => ({
    publish: () => Promise.resolve({ ...done, images, failed }),
  })
  const all = await ask(t, ['publish', 'mine:1'], given([]))
  assert.equal(all.exitCode, 1)
  assert.match(all.stderr, /failed {2}mine:1: a login is needed/)
  assert.match(all.stderr, /--own/)
  assert.doesNotMatch(all.stderr, /cannot be taken back/)
  assert.equal((await ask(t, ['publish', 'mine:1', 'app:1'], given([image]))).exitCode, 3)
})

test('publish writes .torrent files where they are wanted, before anything is public', async (t) => {
  const folder = join(await makeDataDir(t), 'new')
  const metainfo = Buffer.from('d4:infode').toString('base64')
  const requests: { metainfo: boolean }[] = []
  const publish: NodeOperations['publish'] = async (request) => {
    requests.push(request)
    return { ...done, images: [{ ...image, blobs: [{ ...layer, metainfo }] }] }
  }
  const said = await ask(t, ['publish', 'app:1', '-o', folder, '--json'], { publish })
  const path = join(folder, `${hexOf(LAYER)}.torrent`)
  const answer = JSON.parse(said.stdout) as PublishResult
  assert.deepEqual(answer.images, [{ ...image, blobs: [{ ...layer, path }] }])
  assert.deepEqual(await readdir(folder), [`${hexOf(LAYER)}.torrent`])
  assert.equal(await readFile(path, 'utf8'), 'd4:infode')

  await writeFile(join(folder, 'file'), '')
  const refusedFolder = join(folder, 'file', 'x')
  const failed = await ask(t, ['publish', 'app:1', '-o', refusedFolder], { publish })
  assert.equal(failed.exitCode, 2)
  assert.deepEqual(
    requests.map((request) => request.metainfo),
    [true],
  )
})

test('unpublish says what is over, and what cannot be taken back', async (t) => {
  const ended = { reference: 'app:1', digest: DIGEST, names: ['docker.io/library/app:1', 'b:1'] }
  const requests: unknown[] = []
  const unpublish: NodeOperations['unpublish'] = async (request) => {
    requests.push(request)
    return { images: [ended], failed: [], left: 0 }
  }
  const said = await ask(t, ['unpublish', 'app:1'], { unpublish })
  assert.equal(said.exitCode, 0)
  assert.equal(
    said.stdout,
    `app:1  ${SHORT}  no longer published  (public as docker.io/library/app:1, b:1)\n`,
  )
  assert.match(said.stderr, /cannot be taken back/)
  assert.deepEqual(requests, [{ references: ['app:1'] }])
})

test('the help of publish says who learns what', async () => {
  const { stdout } = await runLine(['publish', '--help'])
  for (const text of ['Who learns what', 'cannot be taken back', '--own', '--address', '-o'])
    assert.ok(stdout.includes(text), text)
  assert.ok(stdout.split('\n').length < 60)
})

test('ls says what is public', async (t) => {
  const about = { digest: DIGEST, mediaType: 'x', size: MIB, blobs: 2, complete: true } as const
  const images = [
    { ...about, names: ['app:1'], published: true },
    { ...about, names: ['mine:1'] },
  ]
  const listed = await ask(t, ['ls'], { list: () => Promise.resolve({ images }) })
  assert.match(listed.stdout, /^app:1 .* complete, public$/m)
  assert.match(listed.stdout, /^mine:1 .* complete$/m)
})
