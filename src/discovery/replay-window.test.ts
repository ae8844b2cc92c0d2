import assert from 'node:assert/strict'
import { test } from 'node:test'

import { REPLAY_WINDOW_SECONDS, ReplayWindow } from './replay-window.ts'

const NOW = 1_800_000_000

test('takes a nonce once, and another one of the same second', () => {
  const window = new ReplayWindow()
  assert.equal(window.take('a', NOW, NOW), true)
  assert.equal(window.take('a', NOW, NOW), false)
  assert.equal(window.take('b', NOW, NOW), true)
})

test('takes what is a minute old, or from a clock a minute ahead, and no more', () => {
  const window = new ReplayWindow()
  for (const [away, isTaken] of [
    [-REPLAY_WINDOW_SECONDS - 1, false],
    [-REPLAY_WINDOW_SECONDS, true],
    [REPLAY_WINDOW_SECONDS, true],
    [REPLAY_WINDOW_SECONDS + 1, false],
  ] as const) {
    assert.equal(window.take(`${away}`, NOW + away, NOW), isTaken, `${away} s`)
  }
})

test('takes nothing twice for as long as its time is good, whatever the clock does by a minute', () => {
  const window = new ReplayWindow()
  assert.ok(window.take('ahead', NOW + 60, NOW))
  for (let second = NOW; second <= NOW + 200; second += 1) {
    assert.equal(window.take('ahead', NOW + 60, second), false, `${second - NOW}`)
  }
  // Set back by a minute.
  assert.equal(window.take('ahead', NOW + 60, NOW + 120), false)
})

test('forgets what nobody could say again', () => {
  const window = new ReplayWindow()
  for (let second = 0; second < 1000; second += 1) {
    window.take(`${second}`, NOW + second, NOW + second)
  }
  assert.ok(window.size <= 2 * REPLAY_WINDOW_SECONDS + 1, `${window.size}`)
})

test('without room it closes the oldest seconds rather than take something twice', () => {
  const window = new ReplayWindow({ maxNonces: 100 })
  const taken: [string, number][] = []
  for (let count = 0; count < 1000; count += 1) {
    const second = NOW - 50 + (count % 60)
    if (window.take(`${count}`, second, NOW)) taken.push([`${count}`, second])
    assert.ok(window.size <= 100)
  }
  assert.ok(taken.length > 100)
  for (const [nonce, second] of taken) assert.equal(window.take(nonce, second, NOW), false)
  assert.equal(window.take('newest', NOW + 30, NOW), true)
})

test('a clock that is set back by hours does not close it for hours', () => {
  const window = new ReplayWindow({ maxNonces: 2 })
  for (const nonce of ['a', 'b', 'c']) window.take(nonce, NOW + 7200, NOW + 7200)
  assert.equal(window.take('d', NOW, NOW), true)
})
