import assert from 'node:assert/strict'
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'

import type { SwarmKey } from '../membership/swarm-key.ts'
import { testKey, testSwarmKey } from '../testing/dht-testnet.ts'
import { MemoryItems } from '../testing/memory-items.ts'
import type { PeerAddress } from './discovery.ts'
import { MainlineMeeting, type MeetingDht, type MeetingKeys } from './mainline-meeting.ts'
import { daysToRead, meetingPlaceOf } from './meeting-place.ts'
import { formatMemberList, parseMemberList, type ListedMember } from './member-list.ts'
import { openMemberList, sealMemberList } from './sealed-member-list.ts'

const NODES = testKey('nodes')
const NOW_MS = 1_800_000_000_000
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const swarmKey = testSwarmKey('meeting')

interface Member extends AsyncDisposable {
  readonly meeting: MainlineMeeting
  /** addresses of members that it was told of, each time */
  readonly met: string[]
}

interface MemberOptions {
  keys?: MeetingKeys
  contactCount?: () => number
  addresses?: readonly PeerAddress[]
  open?: () => Promise<MeetingDht>
}

/** Hours in a moment: every timer and the clock. */
function useClock(t: TestContext): (ms: number) => Promise<void> {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: NOW_MS })
  const settle = async () => {
    for (let turn = 0; turn < 6; turn += 1) await setImmediate()
  }
  return async (ms) => {
    const stepMs = ms > MINUTE_MS ? 5_000 : Math.min(ms, 50)
    await settle()
    for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
      t.mock.timers.tick(stepMs)
      await settle()
    }
  }
}

function join(items: MemoryItems, index: number, options: MemberOptions = {}): Member {
  const met: string[] = []
  const { addresses = [addressOf(index)], contactCount = () => 0 } = options
  const meeting = new MainlineMeeting({
    keys: options.keys ?? keysOf(swarmKey),
    isNodesKey: (key) => key === NODES,
    open: options.open ?? (async () => items.open()),
    tag: index.toString(16).padStart(16, '0'),
    addresses: () => [...addresses],
    contactCount,
    onMember: ({ host }) => met.push(host),
  })
  return { meeting, met, [Symbol.asyncDispose]: () => meeting[Symbol.asyncDispose]() }
}

function keysOf(current: SwarmKey, ...others: SwarmKey[]): MeetingKeys {
  return { current, accepted: [current, ...others] }
}

function addressOf(index: number): PeerAddress {
  return { host: `10.0.${index >> 8}.${index & 255}`, port: 6881 }
}

/** Whom the newest item names that this key opens. */
function listed(items: MemoryItems, key: SwarmKey = swarmKey): ListedMember[] {
  const days = [Date.now(), Date.now() + 3 * HOUR_MS].flatMap((nowMs) => daysToRead(key, nowMs))
  const opened = items.kept().flatMap(({ value, seq }) =>
    days.flatMap((day) => {
      const list = openMemberList(value, meetingPlaceOf(key, day).sealingKey)
      return list ? [{ seq, members: parseMemberList(list) ?? [] }] : []
    }),
  )
  const top = Math.max(...opened.map(({ seq }) => seq))
  return opened.filter(({ seq }) => seq === top).flatMap(({ members }) => members)
}

const indexesIn = (members: readonly ListedMember[]) =>
  [...new Set(members.map(({ tag }) => Number.parseInt(tag, 16)))].toSorted((a, b) => a - b)

test('who comes second finds the first, at once, and both are named', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using first = join(items, 1)
  await pass(100)
  assert.deepEqual(indexesIn(listed(items)), [1])
  await using second = join(items, 2)
  const found = await Array.fromAsync(second.meeting.findPeers(NODES))
  assert.deepEqual(found, [addressOf(1)])
  await pass(100)
  assert.deepEqual(indexesIn(listed(items)), [1, 2])
  assert.equal(items.conflictCount, 0)
  assert.deepEqual(second.meeting.stats(), { nodes: 8, members: 1, isListed: true })
  // The first looks again by itself: nobody has told it.
  await pass(MINUTE_MS)
  assert.deepEqual(await Array.fromAsync(first.meeting.findPeers(NODES)), [addressOf(2)])
  assert.deepEqual(await Array.fromAsync(first.meeting.findPeers(testKey('image'))), [])
})

test('a dozen that start at the same moment all find all others within a minute', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using stack = new AsyncDisposableStack()
  const members = Array.from({ length: 12 }, (_, index) => stack.use(join(items, index + 1)))
  await pass(MINUTE_MS)
  assert.equal(indexesIn(listed(items)).length, 12)
  assert.ok(items.conflictCount > 0)
  for (const { meeting } of members) {
    assert.equal((await Array.fromAsync(meeting.findPeers(NODES))).length, 11)
  }
})

test('of two that write at the same moment one is told so, and looks again at once', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using first = join(items, 1)
  await using second = join(items, 2)
  await pass(1000)
  assert.equal(items.conflictCount, 1)
  assert.deepEqual(indexesIn(listed(items)), [1, 2])
  assert.equal(first.met.length + second.met.length, 1)
})

test('two items that were written apart become one with the members of both', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  const [day = 0] = daysToRead(swarmKey, NOW_MS)
  const place = meetingPlaceOf(swarmKey, day)
  const itemOf = (index: number) => ({ seq: 1, value: valueOf(place, [index]) })
  items.split(place, [itemOf(7), itemOf(8)])
  await using third = join(items, 3)
  assert.equal((await Array.fromAsync(third.meeting.findPeers(NODES))).length, 2)
  await pass(1000)
  assert.deepEqual(indexesIn(listed(items)), [3, 7, 8])
  assert.equal(items.kept().length, 1)
})

test('a member that is gone is named for hours, then no more', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using stays = join(items, 1, { contactCount: () => 1 })
  const goes = join(items, 2)
  await pass(10_000)
  await goes[Symbol.asyncDispose]()
  await pass(2 * HOUR_MS)
  assert.deepEqual(indexesIn(listed(items)), [1, 2])
  await pass(4 * HOUR_MS)
  assert.deepEqual(indexesIn(listed(items)), [1])
  assert.deepEqual(await Array.fromAsync(stays.meeting.findPeers(NODES)), [])
})

test('an item from before is believed no longer than its members are', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  const [day = 0] = daysToRead(swarmKey, NOW_MS)
  const place = meetingPlaceOf(swarmKey, day)
  const old = [
    { seq: 9, value: valueOf(place, [7], NOW_MS - 5 * HOUR_MS) },
    { seq: 9, value: valueOf(place, [8], NOW_MS + HOUR_MS) },
  ] as const
  items.split(place, old)
  await using member = join(items, 1)
  await pass(1000)
  assert.deepEqual(member.met, [])
  assert.deepEqual(indexesIn(listed(items)), [1])
})

test('somebody is found at any time of three days, also when they turn', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using _ = join(items, 1, { contactCount: () => 1 })
  await pass(1000)
  for (let hour = 0; hour < 72; hour += 1) {
    await pass(HOUR_MS)
    await using comes = join(items, 2, { addresses: [] })
    assert.deepEqual(await Array.fromAsync(comes.meeting.findPeers(NODES)), [addressOf(1)])
  }
})

test('all members together write a few dozen times an hour, however many they are', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using stack = new AsyncDisposableStack()
  const count = 300
  for (let index = 1; index <= count; index += 1) {
    stack.use(join(items, index, { contactCount: () => count - 1 }))
  }
  await pass(5 * MINUTE_MS)
  items.writeCount = 0
  items.readCount = 0
  const named = new Set(indexesIn(listed(items)))
  for (let minute = 0; minute < 4 * 60; minute += 10) {
    await pass(10 * MINUTE_MS)
    for (const index of indexesIn(listed(items))) named.add(index)
  }
  t.diagnostic(
    `${items.writeCount / 4} writes and ${items.readCount / 4} reads an hour, ${named.size} of ${count} named`,
  )
  assert.ok(items.writeCount / 4 < 60, `${items.writeCount}`)
  assert.ok(items.readCount / 4 < 2 * count, `${items.readCount}`)
  // By turns others are named than at first.
  assert.ok(named.size > 50, `${named.size}`)
})

test('a lone node looks often at first, and in the end every ten minutes', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using _ = join(items, 1)
  await pass(10 * MINUTE_MS)
  assert.ok(items.readCount >= 5 && items.readCount <= 12, `${items.readCount}`)
  items.readCount = 0
  items.writeCount = 0
  await pass(4 * HOUR_MS)
  assert.ok(items.readCount >= 16 && items.readCount <= 60, `${items.readCount}`)
  assert.ok(items.writeCount >= 3 && items.writeCount <= 8, `${items.writeCount}`)
})

test('where nobody answers it goes on trying, and comes in when somebody does', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  items.isSilent = true
  await using member = join(items, 1)
  assert.deepEqual(await Array.fromAsync(member.meeting.findPeers(NODES)), [])
  await pass(10 * MINUTE_MS)
  assert.deepEqual(member.meeting.stats(), { nodes: 0, members: 0, isListed: false })
  items.isSilent = false
  await pass(2 * MINUTE_MS)
  assert.deepEqual(indexesIn(listed(items)), [1])
})

test('who loses all contacts, as a laptop that is taken elsewhere, looks again within a minute', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  let contacts = 1
  await using _ = join(items, 1, { contactCount: () => contacts })
  await pass(5 * MINUTE_MS)
  items.readCount = 0
  await pass(10 * MINUTE_MS)
  assert.equal(items.readCount, 0)
  contacts = 0
  await pass(MINUTE_MS)
  assert.ok(items.readCount >= 1)
})

test('a round that fails is not the last one', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  const read = items.read.bind(items)
  items.read = () => Promise.reject(new Error('unexpected'))
  await using member = join(items, 1)
  assert.deepEqual(await Array.fromAsync(member.meeting.findPeers(NODES)), [])
  items.read = read
  await pass(10_000)
  assert.deepEqual(indexesIn(listed(items)), [1])
})

test('without a way to mainline nobody is found, and nothing breaks', async () => {
  const open = () => Promise.reject(new Error('no network'))
  await using member = join(new MemoryItems(), 1, { open })
  assert.deepEqual(await Array.fromAsync(member.meeting.findPeers(NODES)), [])
  assert.equal(member.meeting.stats().isListed, false)
})

test('who cannot be reached reads, and is not named', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using _ = join(items, 1)
  await pass(100)
  await using hidden = join(items, 2, { addresses: [] })
  await pass(10 * MINUTE_MS)
  assert.ok(hidden.met.includes(addressOf(1).host))
  assert.deepEqual(indexesIn(listed(items)), [1])
})

test('while a swarm changes its key, members with either find each other; then only the new one counts', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  const next = testSwarmKey('next')
  await using behind = join(items, 1)
  await pass(100)
  let keys = keysOf(swarmKey, next)
  const changing: MeetingKeys = {
    get current() {
      return keys.current
    },
    get accepted() {
      return keys.accepted
    },
  }
  await using told = join(items, 2, { keys: changing })
  await pass(100)
  assert.deepEqual(told.met, [addressOf(1).host])
  keys = keysOf(next, swarmKey)
  told.meeting.refresh()
  await pass(1000)
  assert.deepEqual(indexesIn(listed(items, next)), [2])
  await using ahead = join(items, 3, { keys: keysOf(next) })
  assert.deepEqual(await Array.fromAsync(ahead.meeting.findPeers(NODES)), [addressOf(2)])
  await pass(1000)
  assert.deepEqual(indexesIn(listed(items, next)), [2, 3])
  assert.ok(!behind.met.includes(addressOf(3).host))
  await using between = join(items, 4, { keys: keysOf(next, swarmKey) })
  await pass(100)
  const ofBoth = [1, 2, 3].map((index) => addressOf(index).host)
  assert.deepEqual([...new Set(between.met)].toSorted(), ofBoth)
})

test('somebody with another key writes and reads elsewhere', async (t) => {
  const pass = useClock(t)
  const items = new MemoryItems()
  await using member = join(items, 1)
  await using stranger = join(items, 2, { keys: keysOf(testSwarmKey('stranger')) })
  await pass(10 * MINUTE_MS)
  assert.deepEqual([member.met, stranger.met], [[], []])
  assert.equal(items.kept().length, 2)
})

test('is closed at once, whatever it waits for', async () => {
  const items = new MemoryItems()
  const asked = Promise.withResolvers<void>()
  items.read = async (_place, { signal }) => {
    asked.resolve()
    await once(signal, 'abort')
    return []
  }
  const { meeting } = join(items, 1)
  await asked.promise
  const found = Array.fromAsync(meeting.findPeers(NODES))
  await meeting[Symbol.asyncDispose]()
  await meeting[Symbol.asyncDispose]()
  assert.deepEqual(await found, [])
})

function valueOf(
  { sealingKey }: ReturnType<typeof meetingPlaceOf>,
  indexes: readonly number[],
  seenAtMs = NOW_MS,
): Buffer {
  const members = indexes.map((index) => ({
    tag: index.toString(16).padStart(16, '0'),
    seenAtMs,
    addresses: [addressOf(index)],
  }))
  return sealMemberList(formatMemberList(members), sealingKey)
}
