import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import { TicketBook } from './ticket-book.ts'

const wanted = { expiresAtMs: 2000, isOnce: false, addresses: ['127.0.0.1:1'] }

test('a ticket is honoured until it expires, also after a restart', async (t) => {
  const dataDir = await makeDataDir(t)
  const book = await TicketBook.open(dataDir)
  const { id } = await book.issue(wanted, 1000)
  const reopened = await TicketBook.open(dataDir)
  for (const each of [book, reopened]) {
    assert.equal(each.secretOf(id, 1999)?.length, 32)
    assert.deepEqual([await each.redeem(id, 1999), await each.redeem(id, 1999)], [true, true])
    assert.deepEqual([each.secretOf(id, 2000), await each.redeem(id, 2000)], [undefined, false])
  }
  assert.deepEqual(book.secretOf(id, 1999), reopened.secretOf(id, 1999))
  assert.equal((await stat(join(dataDir, 'keys/tickets.json'))).mode & 0o777, 0o600)
})

test('a ticket for one node is used up by the first that comes, for good', async (t) => {
  const dataDir = await makeDataDir(t)
  const book = await TicketBook.open(dataDir)
  const { id } = await book.issue({ ...wanted, isOnce: true }, 1000)
  const all = await Promise.all([1, 2, 3].map(() => book.redeem(id, 1500)))
  assert.deepEqual(all, [true, false, false])
  const reopened = await TicketBook.open(dataDir)
  assert.deepEqual([book.secretOf(id, 1500), reopened.secretOf(id, 1500)], [undefined, undefined])
})

test('what has expired is forgotten, and there is an end to what can be open', async (t) => {
  const dataDir = await makeDataDir(t)
  const tickets = Array.from({ length: 999 }, (_, index) => ({
    id: index.toString(16).padStart(16, '0'),
    secret: '0'.repeat(32),
    expiresAtMs: index < 10 ? 1000 : 9000,
    isOnce: true,
  }))
  await writeFile(join(dataDir, 'keys/tickets.json'), JSON.stringify({ tickets }))
  const book = await TicketBook.open(dataDir)
  for (let more = 0; more < 11; more += 1) await book.issue({ ...wanted, expiresAtMs: 9000 }, 1000)
  await assert.rejects(book.issue(wanted, 1000), { code: 'INVITE_INVALID' })
  const kept = JSON.parse(await readFile(join(dataDir, 'keys/tickets.json'), 'utf8')) as object
  assert.equal((kept as { tickets: unknown[] }).tickets.length, 1000)
})

test('a file that is no ticket book is as none', async (t) => {
  const dataDir = await makeDataDir(t)
  for (const text of ['', 'rubbish', 'null', '{"tickets":[null,{"id":"x"},7]}']) {
    await writeFile(join(dataDir, 'keys/tickets.json'), text)
    const book = await TicketBook.open(dataDir)
    assert.equal(book.secretOf('x'), undefined)
    assert.equal((await book.issue(wanted, 1000)).addresses[0], '127.0.0.1:1')
  }
})

async function makeDataDir(t: TestContext): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), 'ddocker-tickets-'))
  t.after(() => rm(dataDir, { recursive: true }))
  await mkdir(join(dataDir, 'keys'))
  return dataDir
}
