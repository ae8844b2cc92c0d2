import assert from 'node:assert/strict'
import { test } from 'node:test'

import { BandwidthOrder } from './bandwidth-order.ts'

const never = new AbortController().signal

test('a stream alone is never held back', async () => {
  const order = new BandwidthOrder()
  const { stream } = order.add(() => 5)
  for (let chunk = 0; chunk < 100; chunk += 1) {
    assert.equal(await order.pass(stream, 65_536, never), 0)
  }
})

test('the lowest goes on, the next one waits until it has ended', async () => {
  const order = new BandwidthOrder()
  const [low, high] = [order.add(() => 0), order.add(() => 1)]
  let isThrough = false
  const waiting = order.pass(high.stream, 1000, never).then((waitedMs) => {
    isThrough = true
    return waitedMs
  })
  for (let round = 0; round < 20; round += 1) {
    assert.equal(await order.pass(low.stream, 1000, never), 0)
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
  assert.equal(isThrough, false)
  low.end()
  assert.ok((await waiting) >= 250)
})

test('a stream that has the right of way and brings nothing lets the others pass', async () => {
  const order = new BandwidthOrder()
  order.add(() => 0)
  const { stream } = order.add(() => 1)
  const waitedMs = await order.pass(stream, 1000, never)
  assert.ok(waitedMs >= 100 && waitedMs < 1500, `${waitedMs} ms`)
})

test('nothing waits for ever: after 20 s one more chunk may come', async () => {
  let nowMs = 0
  const order = new BandwidthOrder({ nowMs: () => nowMs })
  const [low, middle, high] = [0, 1, 2].map((rank) => order.add(() => rank))
  assert.ok(low && middle && high)
  const waiting = order.pass(high.stream, 1000, never)
  // two before it, so that it has to wait while one stream more is tried too
  const feeding = setInterval(() => {
    nowMs += 100
    for (const { stream } of [low, middle]) void order.pass(stream, 1000, AbortSignal.abort())
  }, 1)
  const waitedMs = await waiting
  clearInterval(feeding)
  assert.ok(waitedMs >= 20_000, `${waitedMs} ms`)
  assert.equal(order.mustWait(high.stream), true)
})

test('what lay in buffers, and the pause between two pulls, look like no faster link', async () => {
  let nowMs = 0
  const order = new BandwidthOrder({ nowMs: () => nowMs })
  const first = order.add(() => 0)
  await order.pass(first.stream, 1_000_000, never)
  first.end()
  nowMs += 10_000
  const [low, high] = [order.add(() => 0), order.add(() => 1)]
  const stop = new AbortController()
  const waiting = order.pass(high.stream, 1000, stop.signal)
  let passed = 0
  void waiting.then(() => (passed += 1))
  for (let step = 0; step < 20; step += 1) {
    nowMs += 100
    await order.pass(low.stream, 100_000, never)
  }
  assert.equal(passed, 0)
  stop.abort()
  await waiting
})

test('who leaves waits no longer', async () => {
  const order = new BandwidthOrder()
  const low = order.add(() => 0)
  const high = order.add(() => 1)
  const gone = new AbortController()
  const waiting = order.pass(high.stream, 1000, gone.signal)
  const feeding = setInterval(() => void order.pass(low.stream, 1000, never), 20)
  gone.abort()
  await waiting
  clearInterval(feeding)
})

test('where one connection cannot fill the link, more are read at once', async () => {
  // Every stream brings 1 MiB/s and not more, whoever else runs: a registry that limits each connection.
  const order = new BandwidthOrder()
  const streams = [0, 1, 2].map((rank) => order.add(() => rank))
  const brought = [0, 0, 0]
  const stop = new AbortController()
  const running = streams.map(async ({ stream }, index) => {
    while (!stop.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      brought[index] = (brought[index] ?? 0) + 20_000
      await order.pass(stream, 20_000, stop.signal)
    }
  })
  const second = () => (brought[1] ?? 0) > 1_000_000
  const deadlineMs = Date.now() + 15_000
  while (!second() && Date.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  stop.abort()
  await Promise.all(running)
  assert.ok(second(), `the second one brought ${brought[1]} bytes`)
})
