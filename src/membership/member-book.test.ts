import assert from 'node:assert/strict'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { tempDir } from '../testing/temp-dir.ts'
import { MemberBook } from './member-book.ts'

const DAY_MS = 86_400_000
const idOf = (index: number) => index.toString(16).padStart(64, '0')
const member = (index: number) => ({
  nodeId: idOf(index),
  nodeName: `n${index}`,
  host: '10.0.0.1',
  port: 6881,
})

test('remembers who was met first when, and where last', async () => {
  await using place = await openPlace()
  const { book } = place
  book.note(member(1), 1000)
  book.note({ ...member(1), port: 7000 }, 2000)
  await book.written()
  const again = await MemberBook.open(place.dataDir)
  assert.deepEqual(again.all(), [{ ...member(1), port: 7000, metAtMs: 1000, seenAtMs: 2000 }])
  assert.equal(again.metAtMs.get(idOf(1)), 1000)
  assert.equal((await stat(place.path)).mode & 0o777, 0o600)
  again.remove(idOf(1))
  await again.written()
  assert.deepEqual((await MemberBook.open(place.dataDir)).all(), [])
})

test('invented members push out nobody who was here lately', async () => {
  await using place = await openPlace()
  const { book } = place
  book.note(member(0), 0)
  for (let index = 1; index < 5000; index += 1) book.note(member(index), 1000)
  assert.equal(book.all().length, 4096)
  assert.ok(book.metAtMs.has(idOf(0)))
  book.note(member(5000), 31 * DAY_MS)
  assert.ok(book.metAtMs.has(idOf(5000)))
  assert.ok(!book.metAtMs.has(idOf(0)))
  await book.written()
})

for (const content of ['', '{', 'null', '{"members":{}}', '{"members":[null,{"nodeId":"x"}]}']) {
  test(`takes a file of ${content || 'nothing'} for an empty one`, async () => {
    await using place = await openPlace()
    await writeFile(place.path, content)
    assert.deepEqual((await MemberBook.open(place.dataDir)).all(), [])
  })
}

async function openPlace() {
  const dir = await tempDir()
  await mkdir(join(dir.path, 'keys'))
  return {
    dataDir: dir.path,
    path: join(dir.path, 'keys', 'members.json'),
    book: await MemberBook.open(dir.path),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
}
