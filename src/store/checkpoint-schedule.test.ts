import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'

import { CheckpointSchedule } from './checkpoint-schedule.ts'

const MIB = 1024 * 1024

/** A schedule whose checkpoints end when the test says so. */
function watchedSchedule() {
  const running: (() => void)[] = []
  const schedule = new CheckpointSchedule(() => {
    const { promise, resolve } = Promise.withResolvers<void>()
    running.push(resolve)
    return promise
  })
  return { schedule, running }
}

test('waits a second after the first new piece', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { schedule, running } = watchedSchedule()
  schedule.onPiece(1)
  t.mock.timers.tick(600)
  schedule.onPiece(1)
  assert.equal(running.length, 0)
  t.mock.timers.tick(400)
  assert.equal(running.length, 1)
})

test('begins at once with 16 MiB of new pieces', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { schedule, running } = watchedSchedule()
  schedule.onPiece(12 * MIB)
  schedule.onPiece(4 * MIB)
  assert.equal(running.length, 1)
})

test('runs one at a time, and another for what came meanwhile', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { schedule, running } = watchedSchedule()
  schedule.onPiece(16 * MIB)
  schedule.onPiece(16 * MIB)
  t.mock.timers.tick(5000)
  assert.equal(running.length, 1)
  running[0]?.()
  await setImmediate()
  assert.equal(running.length, 2)
})

test('rests while nothing is new', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { schedule, running } = watchedSchedule()
  schedule.onPiece(16 * MIB)
  running[0]?.()
  await setImmediate()
  t.mock.timers.tick(5000)
  assert.equal(running.length, 1)
})

test('starts none after its stop, which waits for the one under way', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { schedule, running } = watchedSchedule()
  schedule.onPiece(16 * MIB)
  let isStopped = false
  const stopping = schedule.stop().then(() => (isStopped = true))
  await setImmediate()
  assert.equal(isStopped, false)
  running[0]?.()
  await stopping
  schedule.onPiece(16 * MIB)
  assert.equal(running.length, 1)
})
