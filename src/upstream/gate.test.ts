import assert from 'node:assert/strict'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { unreachable, type UnreachableReason } from './failures.ts'
import { BUSY, Gate } from './gate.ts'

const place = { host: 'registry.example' }
const { signal } = new AbortController()
const failWith =
  (reason: UnreachableReason, details = {}) =>
  async () => {
    throw unreachable(place, reason, 'no connection (ECONNREFUSED)', details)
  }
const succeed = async () => 'found'

function openGate(options = {}) {
  const clock = { ms: 0 }
  return { clock, gate: new Gate({ nowMs: () => clock.ms, ...options }) }
}

/** For how long the gate is closed. */
async function quietMs(gate: Gate): Promise<number> {
  let ms = 0
  await assert.rejects(
    gate.pass(signal, () => Promise.reject(new Error('the gate let it through'))),
    (thrown) => {
      assert.ok(isOperationError(thrown, 'UPSTREAM_UNREACHABLE'))
      ms = Number(thrown.details['retryAfterMs'])
      return true
    },
  )
  return ms
}

test('a dead host is left in peace for 2 s, 4 s, and at most 30 s', async () => {
  const { gate, clock } = openGate()
  const waits: number[] = []
  for (let failure = 1; failure <= 6; failure += 1) {
    await assert.rejects(gate.pass(signal, failWith('connection')))
    const ms = await quietMs(gate)
    waits.push(ms)
    clock.ms += ms
  }
  assert.deepEqual(waits, [2000, 4000, 8000, 16_000, 30_000, 30_000])
  assert.equal(await gate.pass(signal, succeed), 'found')
  await assert.rejects(gate.pass(signal, failWith('connection')))
  assert.equal(await quietMs(gate), 2000)
})

test('requests that fail together count as one failure', async () => {
  const { gate } = openGate()
  const fail = failWith('connection')
  await Promise.allSettled([1, 2, 3, 4].map(() => gate.pass(signal, fail)))
  assert.equal(await quietMs(gate), 2000)
})

test('after the quiet one request goes first, and the others wait for what it finds', async () => {
  const { gate, clock } = openGate()
  await assert.rejects(gate.pass(signal, failWith('busy', { retryAfterMs: 700 })))
  assert.equal(await quietMs(gate), 700)
  clock.ms += 700
  let count = 0
  const answer = Promise.withResolvers<never>()
  const work = async () => {
    count += 1
    return await answer.promise
  }
  const all = Promise.allSettled(Array.from({ length: 100 }, () => gate.pass(signal, work)))
  answer.reject(unreachable(place, 'busy', 'it answered 429', { retryAfterMs: 500 }))
  const outcomes = await all
  assert.equal(count, 1)
  assert.ok(outcomes.every(({ status }) => status === 'rejected'))
})

test('who waits for the first one goes on when it succeeds', async () => {
  const { gate, clock } = openGate()
  await assert.rejects(gate.pass(signal, failWith('connection')))
  clock.ms += 2000
  const outcomes = await Promise.all([1, 2, 3].map(() => gate.pass(signal, succeed)))
  assert.deepEqual(outcomes, ['found', 'found', 'found'])
})

test('when the first one is given up, the next one goes first', async () => {
  const { gate, clock } = openGate()
  await assert.rejects(gate.pass(signal, failWith('connection')))
  clock.ms += 2000
  const given = gate.pass(signal, async () => Promise.reject(new Error('given up')))
  const next = gate.pass(signal, succeed)
  await assert.rejects(given, { message: 'given up' })
  assert.equal(await next, 'found')
})

test('who waits leaves with its signal', async () => {
  const { gate, clock } = openGate()
  await assert.rejects(gate.pass(signal, failWith('connection')))
  clock.ms += 2000
  const hanging = Promise.withResolvers<string>()
  const first = gate.pass(signal, () => hanging.promise)
  const controller = new AbortController()
  const waiting = gate.pass(controller.signal, succeed)
  controller.abort(new Error('enough'))
  await assert.rejects(waiting, { message: 'enough' })
  hanging.resolve('late')
  assert.equal(await first, 'late')
})

test('an answer with an error in it closes nothing, and neither does a broken body', async () => {
  const { gate } = openGate()
  for (const reason of ['server', 'body', 'closed'] as const) {
    await assert.rejects(gate.pass(signal, failWith(reason)))
    assert.equal(await gate.pass(signal, succeed), 'found')
  }
})

test('a gate that counts only what the host says is not closed by a dead one', async () => {
  const { gate } = openGate({ closesOn: BUSY })
  await assert.rejects(gate.pass(signal, failWith('connection')))
  assert.equal(await gate.pass(signal, succeed), 'found')
  await assert.rejects(gate.pass(signal, failWith('busy', { retryAfterMs: 1000 })))
  assert.equal(await quietMs(gate), 1000)
})

test('a success from before does not end the quiet that the host asked for', async () => {
  const { gate } = openGate()
  const early = Promise.withResolvers<string>()
  const first = gate.pass(signal, () => early.promise)
  await assert.rejects(gate.pass(signal, failWith('busy', { retryAfterMs: 1000 })))
  early.resolve('found')
  assert.equal(await first, 'found')
  assert.equal(await quietMs(gate), 1000)
})
