import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import { PUBLIC_SWARM_KEY } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { testSwarmKey, until } from '../testing/dht-testnet.ts'
import { PlainMainline } from '../testing/plain-mainline.ts'
import { DhtDiscovery } from './dht-discovery.ts'
import type { PeerAddress } from './discovery.ts'
import { meetingPlaceOf, type MeetingPlace } from './meeting-place.ts'
import { DhtItems, type ItemHolder, type MutableItems, type StoredItem } from './mutable-items.ts'

const place = meetingPlaceOf(testSwarmKey('items'), 1)
// Of a question: what a dead node costs.
const TIMEOUT_MS = 200
const signal = AbortSignal.timeout(30_000)

/** A client of a DHT that starts from `router`. */
async function openItems(router: PeerAddress) {
  const answers: [string, unknown][] = []
  const dht = await DhtDiscovery.open({
    swarmKeys: new SwarmKeys(PUBLIC_SWARM_KEY),
    isPublic: true,
    isReadOnly: true,
    host: '127.0.0.1',
    port: 0,
    contacts: [router],
    tuning: { timeoutMs: TIMEOUT_MS },
  })
  const items = dht.items((voter, said) => answers.push([voter, said]))
  return { items, answers, [Symbol.asyncDispose]: () => dht[Symbol.asyncDispose]() }
}

async function read(items: MutableItems, at = place) {
  const found: StoredItem[] = []
  const holders = await items.read(at, { signal, onItem: (item) => found.push(item) })
  return { found, holders }
}

async function write(items: MutableItems, item: StoredItem, holders: readonly ItemHolder[]) {
  return await items.write(place, { ...item, holders }, { signal, sign: place.sign })
}

test('what one writes the other reads: eight copies, near the place', async () => {
  await using mainline = await PlainMainline.open({ nodeCount: 30 })
  await using a = await openItems(mainline.router)
  await using b = await openItems(mainline.router)
  const before = await read(a.items)
  assert.deepEqual(before.found, [])
  const item = { value: randomBytes(900), seq: 1 }
  assert.deepEqual(await write(a.items, item, before.holders), { stored: 8, conflicts: 0 })
  const after = await read(b.items)
  assert.deepEqual(after.found, [item])
  assert.equal(after.holders.filter(({ seq }) => seq === 1).length, 8)
  const distance = ({ id }: ItemHolder) =>
    Buffer.from(id.map((byte, index) => byte ^ (place.target[index] ?? 0))).toString('hex')
  assert.deepEqual(after.holders.map(distance), after.holders.map(distance).toSorted())
  assert.deepEqual(mainline.kept().length, 8)
})

test('who writes over what it has not read is told so, and changes nothing', async () => {
  await using mainline = await PlainMainline.open({ nodeCount: 12 })
  await using a = await openItems(mainline.router)
  await using b = await openItems(mainline.router)
  const [{ holders: ofA }, { holders: ofB }] = [await read(a.items), await read(b.items)]
  const first = { value: Buffer.from('first'), seq: 5 }
  assert.deepEqual(await write(a.items, first, ofA), { stored: 8, conflicts: 0 })
  // The same number: refused. A higher one: not, for nothing was there when it was read.
  assert.deepEqual(await write(b.items, { ...first, value: Buffer.from('x') }, ofB), {
    stored: 0,
    conflicts: 8,
  })
  const { holders: later } = await read(b.items)
  const second = { value: Buffer.from('second'), seq: 6 }
  assert.deepEqual(await write(b.items, second, later), { stored: 8, conflicts: 0 })
  // By now `later` is out of date: its nodes have 6, not 5.
  assert.deepEqual(await write(a.items, { ...first, seq: 7 }, later), { stored: 0, conflicts: 8 })
  assert.deepEqual((await read(a.items)).found, [second])
})

test('only what the key of the place has signed is found, whatever nodes give for it', async () => {
  const forger = meetingPlaceOf(testSwarmKey('forger'), 1)
  const value = Buffer.from('forged')
  const signed = Buffer.concat([Buffer.from('1:v6:'), value])
  const right = { k: place.publicKey, seq: 9, v: value }
  const forged = [
    { ...right, k: forger.publicKey, sig: forger.sign(signed) },
    { ...right, sig: forger.sign(signed) },
    { ...right, sig: place.sign(signed) },
    { ...right, sig: randomBytes(64) },
    { k: place.publicKey, seq: 9, v: value },
    { seq: 9, v: value, sig: randomBytes(64) },
  ]
  const { found, holders } = await readAnswers(place, forged)
  assert.deepEqual(found, [])
  assert.equal(holders.length, forged.length)
  assert.ok(holders.every(({ seq }) => seq === undefined))
})

test('an item of another salt, or of yesterday, is none of today', async () => {
  await using mainline = await PlainMainline.open({ nodeCount: 8 })
  await using a = await openItems(mainline.router)
  const { holders } = await read(a.items)
  await write(a.items, { value: Buffer.from('x'), seq: 1 }, holders)
  const [copy] = mainline.kept()
  const yesterday = meetingPlaceOf(testSwarmKey('items'), 0)
  assert.deepEqual((await read(a.items, yesterday)).found, [])
  const salted = { ...place, salt: randomBytes(16) }
  const { k = Buffer.alloc(0), sig = Buffer.alloc(0), v = Buffer.alloc(0), seq = 0 } = copy ?? {}
  assert.equal((await readAnswers(place, [{ k, sig, v, seq }])).found.length, 1)
  assert.deepEqual((await readAnswers(salted, [{ k, sig, v, seq }])).found, [])
})

test('the first copy comes at once, though nodes that are dead keep the reading from its end', async () => {
  await using mainline = await PlainMainline.open({ nodeCount: 20 })
  await using writer = await openItems(mainline.router)
  const item = { value: Buffer.from('here'), seq: 1 }
  await write(writer.items, item, (await read(writer.items)).holders)
  await mainline.silence(6)
  await using reader = await openItems(mainline.router)
  const startedMs = performance.now()
  let foundMs = Infinity
  const onItem = () => (foundMs = Math.min(foundMs, performance.now() - startedMs))
  await reader.items.read(place, { signal, onItem })
  // The dead cost it their timeout.
  assert.ok(foundMs < (performance.now() - startedMs) / 2)
})

test('who starts from a node that keeps the item, and names no others then, finds all of them', async () => {
  await using mainline = await PlainMainline.open({ nodeCount: 12 })
  await using writer = await openItems(mainline.router)
  const { holders } = await read(writer.items)
  await write(writer.items, { value: Buffer.from('here'), seq: 1 }, holders)
  for (const index of [0, 1, 2, 3]) {
    await using reader = await openItems(mainline.addressOf(index))
    const { found, holders: again } = await read(reader.items)
    assert.equal(found.length, 1)
    assert.ok(again.length >= 8)
  }
})

test('what was found until the signal fires is kept', async () => {
  await using mainline = await PlainMainline.open({ nodeCount: 20 })
  await mainline.silence(6)
  await using reader = await openItems(mainline.router)
  const stop = new AbortController()
  const reading = reader.items.read(place, { signal: stop.signal, onItem: () => {} })
  await until(() => reader.answers.length >= 10)
  stop.abort()
  assert.ok((await reading).length >= 10)
})

test('strangers that name ever nearer nodes are not followed for ever', async () => {
  let asked = 0
  const items = new DhtItems({
    rpc: {
      ...fakeRpc,
      closest: (_target, _question, visit, done) => {
        const answer = { r: { id: randomBytes(20), token: Buffer.alloc(4) } }
        while (visit(answer, { address: '10.0.0.1', port: 1 })) asked += 1
        done(null, asked)
      },
    },
    ready: async () => {},
    onSeenAs: () => {},
  })
  await items.read(place, { signal, onItem: () => {} })
  assert.equal(asked, 199)
})

test('every answer says from which address it was asked', async () => {
  await using mainline = await PlainMainline.open({ nodeCount: 5 })
  await using a = await openItems(mainline.router)
  await read(a.items)
  assert.ok(a.answers.length >= 5)
  for (const [voter, said] of a.answers) {
    assert.equal(voter, '127.0.0.1')
    assert.ok(said instanceof Uint8Array)
    assert.deepEqual([...said.subarray(0, 4)], [127, 0, 0, 1])
  }
})

const fakeRpc = {
  id: randomBytes(20),
  _addNode: () => {},
  response: () => {},
  query: () => {},
}

/** What is made of these answers, each of another node. */
async function readAnswers(at: MeetingPlace, answers: readonly Record<string, Buffer | number>[]) {
  const items = new DhtItems({
    rpc: {
      ...fakeRpc,
      closest: (_target, _question, visit, done) => {
        for (const [index, fields] of answers.entries()) {
          const r = { id: randomBytes(20), token: Buffer.alloc(4), ...fields }
          visit({ r }, { address: '10.0.0.1', port: index + 1 })
        }
        done(null, answers.length)
      },
    },
    ready: async () => {},
    onSeenAs: () => {},
  })
  return await read(items, at)
}
