import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'

import { Announcer } from './announcer.ts'

type Options = Partial<ConstructorParameters<typeof Announcer>[0]>

/** An announcer on a clock that the test moves, and what it announced. */
function openAnnouncer(t: TestContext, options: Options = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
  const announced: string[] = []
  const announcer = new Announcer({
    announce: async (key) => void announced.push(key),
    now: () => Date.now(),
    random: () => 0.5,
    intervalMs: 600_000,
    ...options,
  })
  t.after(() => announcer.close())
  /** Moves the clock in steps, and lets what was started finish after each. */
  const pass = async (ms: number, stepMs = ms) => {
    for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
      t.mock.timers.tick(stepMs)
      await settle()
    }
  }
  return { announcer, announced, pass }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
}

test('announces a new key at once, and again after the interval', async (t) => {
  const { announcer, announced, pass } = openAnnouncer(t)
  announcer.add('a')
  announcer.add('a')
  await settle()
  assert.deepEqual(announced, ['a'])
  await pass(599_000)
  assert.deepEqual(announced, ['a'])
  await pass(1_000)
  assert.deepEqual(announced, ['a', 'a'])
})

test('spreads the announces of keys that came together', async (t) => {
  const randoms = [0, 1]
  const { announcer, announced, pass } = openAnnouncer(t, { random: () => randoms.shift() ?? 0.5 })
  announcer.add('early')
  announcer.add('late')
  await settle()
  await pass(541_000)
  assert.deepEqual(announced, ['early', 'late', 'early'])
  await pass(120_000)
  assert.deepEqual(announced.slice(3), ['late'])
})

test('announces no longer what was withdrawn', async (t) => {
  const { announcer, announced, pass } = openAnnouncer(t)
  announcer.add('a')
  await settle()
  announcer.remove('a')
  await pass(1_200_000)
  assert.deepEqual(announced, ['a'])
  assert.equal(announcer.size, 0)
})

test('keeps a key that was withdrawn and kept anew while its announce was under way', async (t) => {
  const announces: PromiseWithResolvers<void>[] = []
  const { announcer, pass } = openAnnouncer(t, {
    announce: async () => {
      const running = Promise.withResolvers<void>()
      announces.push(running)
      await running.promise
    },
  })
  announcer.add('a')
  announcer.remove('a')
  announcer.add('a')
  assert.equal(announces.length, 2)
  for (const running of announces) running.resolve()
  await settle()
  await pass(600_000)
  assert.equal(announces.length, 3)
})

test('tries a failed announce again after 250 ms, and then ever later', async (t) => {
  const atMs: number[] = []
  const { announcer, pass } = openAnnouncer(t, {
    announce: async () => {
      atMs.push(Date.now())
      if (atMs.length < 5) throw new Error('nobody answered')
    },
  })
  announcer.add('a')
  await settle()
  await pass(10_000, 50)
  assert.deepEqual(atMs, [0, 250, 750, 1750, 3750])
})

test('tries nothing while there is nobody to announce to', async (t) => {
  let isAlone = true
  const { announcer, announced, pass } = openAnnouncer(t, { canAnnounce: () => !isAlone })
  announcer.add('a')
  await pass(3_600_000)
  assert.deepEqual(announced, [])
  isAlone = false
  announcer.announceAll()
  await settle()
  assert.deepEqual(announced, ['a'])
})

test('announces everything again when asked to, also what is under way', async (t) => {
  const started: string[] = []
  const gate = Promise.withResolvers<void>()
  const { announcer } = openAnnouncer(t, {
    announce: async (key) => {
      started.push(key)
      await gate.promise
    },
    concurrency: 2,
  })
  for (const key of ['a', 'b', 'c']) announcer.add(key)
  announcer.announceAll()
  assert.deepEqual(started, ['a', 'b'])
  gate.resolve()
  await settle()
  assert.deepEqual(started, ['a', 'b', 'c', 'a', 'b'])
})

test('runs no more than so many at once, and 10,000 keys need one timer', async (t) => {
  const running = { now: 0, most: 0 }
  const { announcer } = openAnnouncer(t, {
    announce: async () => {
      running.now += 1
      running.most = Math.max(running.most, running.now)
      await Promise.resolve()
      running.now -= 1
    },
    concurrency: 8,
  })
  const timers = t.mock.method(globalThis, 'setTimeout')
  for (let index = 0; index < 10_000; index += 1) announcer.add(`key ${index}`)
  await announcer.idle()
  assert.equal(running.most, 8)
  assert.equal(announcer.size, 10_000)
  assert.ok(timers.mock.callCount() < 50, `${timers.mock.callCount()} timers`)
})

test('starts no more than so many a second: new keys first, then what is due longest', async (t) => {
  const { announcer, announced, pass } = openAnnouncer(t, { ratePerSecond: 2, intervalMs: 10_000 })
  for (let index = 0; index < 10; index += 1) announcer.add(`k${index}`)
  await settle()
  assert.equal(announced.length, 4)
  await pass(3_000, 100)
  assert.equal(announced.length, 10)
  await pass(6_900, 100)
  announced.length = 0
  announcer.announceAll()
  announcer.add('new')
  await pass(6_000, 100)
  const wanted = ['k0', 'k1', 'k2', 'k3', 'new', 'k4', 'k5']
  assert.deepEqual(announced.slice(0, 7), wanted)
})

test('a closed announcer starts nothing, and stops what is under way', async (t) => {
  const reasons: unknown[] = []
  const { announcer, announced } = openAnnouncer(t, {
    announce: async (_, signal) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason))
      await new Promise(() => {})
    },
  })
  announcer.add('a')
  announcer.close()
  announcer.add('b')
  await announcer.idle()
  assert.equal(reasons.length, 1)
  assert.deepEqual(announced, [])
})
