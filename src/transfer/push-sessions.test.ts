import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'

import { isOperationError } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { PushSessions, type KeepUpload } from './push-sessions.ts'

const MINUTE_MS = 60_000
const { signal } = new AbortController()

async function openSessions() {
  await using stack = new AsyncDisposableStack()
  const dir = stack.use(await tempDir())
  const store = stack.use(await DiskBlobStore.open({ dataDir: dir.path }))
  const kept: string[] = []
  const keep: KeepUpload = async ({ repository, upload, digest }) => {
    const prepared = await upload.prepare({ digest: digestOf('abcdef') })
    assert.equal(prepared.digest, digest)
    await upload.commit(prepared)
    kept.push(repository)
  }
  const limits = { maxBlobBytes: 10, maxSessions: 2, idleMs: 15 * MINUTE_MS }
  const sessions = stack.use(new PushSessions({ store, limits, keep }))
  const opened = stack.move()
  return {
    sessions,
    kept,
    left: () => readdir(join(dir.path, 'tmp')),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

test('gives up an upload that nobody goes on with, and not one with bytes under way', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  await using open = await openSessions()
  const session = await open.sessions.begin('a')
  const slow = async function* () {
    for (const text of ['a', 'b', 'c']) {
      t.mock.timers.tick(14 * MINUTE_MS)
      yield Buffer.from(text)
    }
  }
  await session.append(slow(), { signal })
  t.mock.timers.tick(14 * MINUTE_MS)
  await session.append(one('d'), { signal })
  t.mock.timers.tick(15 * MINUTE_MS)
  while (open.sessions.find('a', session.id)) await setImmediate()
  assert.deepEqual(await open.left(), [])
  await assert.rejects(session.append(one('d'), { signal }), isUnknown)
})

test('ends what is under way when an upload is given up', async () => {
  await using open = await openSessions()
  const session = await open.sessions.begin('a')
  const started = Promise.withResolvers<void>()
  const stalled = async function* () {
    yield Buffer.from('abc')
    started.resolve()
    await Promise.withResolvers().promise
  }
  const appending = session.append(stalled(), { signal })
  const rejected = assert.rejects(appending, isUnknown)
  await started.promise
  await session.cancel()
  await rejected
  assert.deepEqual(await open.left(), [])
})

test('has room for so many uploads', async () => {
  await using open = await openSessions()
  const [first] = await Promise.all([open.sessions.begin('a'), open.sessions.begin('b')])
  await assert.rejects(open.sessions.begin('c'), (error) =>
    isOperationError(error, 'UPLOADS_EXHAUSTED'),
  )
  await first.cancel()
  await open.sessions.begin('c')
})

test('knows an upload in its own repository only', async () => {
  await using open = await openSessions()
  const { id } = await open.sessions.begin('a')
  assert.ok(open.sessions.find('a', id))
  assert.equal(open.sessions.find('b', id), undefined)
})

test('takes chunks in order, and one request after the other', async () => {
  await using open = await openSessions()
  const session = await open.sessions.begin('a')
  const results = await Promise.all([
    session.append(one('abc'), { offset: 0, signal }),
    session.append(one('abc'), { offset: 0, signal }),
    session.finish({ digest: digestOf('abcdef'), source: one('def'), offset: 3, signal }),
  ])
  assert.deepEqual(results, [true, false, true])
  assert.deepEqual(open.kept, ['a'])
  assert.deepEqual(await open.left(), [])
})

test('keeps an upload whose last chunk broke off, and no other', async () => {
  await using open = await openSessions()
  const cut = async function* () {
    yield Buffer.from('d')
    throw new Error('cut')
  }
  const digest = digestOf('abcdef')
  const session = await open.sessions.begin('a')
  await session.append(one('abc'), { signal })
  await assert.rejects(session.finish({ digest, source: cut(), offset: 3, signal }), /cut/)
  assert.equal(session.size, 4)
  await session.finish({ digest, source: one('ef'), offset: 4, signal })

  const other = await open.sessions.begin('a')
  await other.append(one('abc'), { signal })
  await assert.rejects(other.finish({ digest, source: cut(), signal }), /cut/)
  assert.equal(open.sessions.find('a', other.id), undefined)
})

test('ends an upload that grows too large', async () => {
  await using open = await openSessions()
  const session = await open.sessions.begin('a')
  await assert.rejects(session.append(one('01234567890'), { signal }), (error) =>
    isOperationError(error, 'BLOB_SIZE_MISMATCH'),
  )
  assert.equal(open.sessions.find('a', session.id), undefined)
})

function isUnknown(error: unknown): boolean {
  return isOperationError(error, 'UPLOAD_UNKNOWN')
}

async function* one(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text)
}
