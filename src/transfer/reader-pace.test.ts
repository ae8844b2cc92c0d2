import assert from 'node:assert/strict'
import { test } from 'node:test'

import { ReaderPace } from './reader-pace.ts'

const MIB = 1024 * 1024

/** Whether `work` is done without any time passing. */
async function isDoneAtOnce(work: Promise<void>): Promise<boolean> {
  return Promise.race([work.then(() => true), new Promise<false>((r) => setImmediate(r, false))])
}

test('a reader that is near is not waited for', async () => {
  const pace = new ReaderPace()
  assert.ok(await isDoneAtOnce(pace.follow(MIB)))
  pace.onTaken(MIB)
  assert.ok(await isDoneAtOnce(pace.follow(2 * MIB)))
})

test('a reader that is behind is waited for until it is near', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const pace = new ReaderPace()
  const followed = pace.follow(3 * MIB)
  pace.onTaken(MIB)
  assert.ok(!(await isDoneAtOnce(followed)))
  pace.onTaken(2 * MIB)
  assert.ok(await isDoneAtOnce(followed))
})

test('only the foremost reader counts', async () => {
  const pace = new ReaderPace()
  pace.onTaken(2 * MIB)
  pace.onTaken(1)
  assert.ok(await isDoneAtOnce(pace.follow(3 * MIB)))
})

test('a reader that does not follow costs 20 ms for every 4 MiB', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const pace = new ReaderPace()
  let waitedMs = 0
  for (let offset = MIB; offset <= 41 * MIB; offset += MIB / 4) {
    const followed = pace.follow(offset)
    while (!(await isDoneAtOnce(followed))) {
      t.mock.timers.tick(1)
      waitedMs += 1
    }
  }
  assert.equal(waitedMs, 200)
})

test('after a restart readers begin anew', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const pace = new ReaderPace()
  pace.onTaken(9 * MIB)
  pace.restart()
  assert.ok(!(await isDoneAtOnce(pace.follow(9 * MIB))))
  t.mock.timers.tick(20)
})
