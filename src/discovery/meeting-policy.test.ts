import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  jitterMs,
  membersToWrite,
  mergeMembers,
  nextRoundMs,
  reasonToWrite,
  withoutGone,
  type RoundOutcome,
  type Situation,
} from './meeting-policy.ts'
import type { ListedMember } from './member-list.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const NOW_MS = 1_800_000_000_000

function member(index: number, ageMs = 0, host = `10.0.0.${index}`): ListedMember {
  const tag = index.toString(16).padStart(16, '0')
  return { tag, seenAtMs: NOW_MS - ageMs, addresses: [{ host, port: 6881 }] }
}

const self = member(1)
const situation: Situation = {
  listed: [],
  isSplit: false,
  self,
  contactCount: 0,
  nowMs: NOW_MS,
  chance: 0.5,
}
const crowd = (count: number) => Array.from({ length: count }, (_, index) => member(index + 100))

test('who is not named comes in, and who is named leaves the item alone', () => {
  assert.equal(reasonToWrite(situation), 'absent')
  assert.equal(reasonToWrite({ ...situation, listed: [member(2)] }), 'absent')
  assert.equal(reasonToWrite({ ...situation, listed: [member(2), self] }), undefined)
})

test('the item is written again before nodes forget it, by whoever sees it first', () => {
  const at = (own: number, other: number) =>
    reasonToWrite({ ...situation, listed: [member(1, own), member(2, other)] })
  assert.equal(at(39 * MINUTE_MS, 100 * MINUTE_MS), undefined)
  assert.equal(at(100 * MINUTE_MS, 39 * MINUTE_MS), undefined)
  assert.equal(at(41 * MINUTE_MS, 41 * MINUTE_MS), 'old')
  // Others write often enough, but nobody says that this one is still there.
  assert.equal(at(121 * MINUTE_MS, MINUTE_MS), 'old')
})

test('who has moved says so, in whatever order its addresses come', () => {
  const listed = [member(1, 0, '10.9.9.9')]
  assert.equal(reasonToWrite({ ...situation, listed }), 'moved')
  const [a, b] = [
    { host: '10.0.0.1', port: 1 },
    { host: '10.0.0.2', port: 1 },
  ]
  const turned = { ...situation, self: { ...self, addresses: [a, b] } }
  assert.equal(reasonToWrite({ ...turned, listed: [{ ...self, addresses: [b, a] }] }), undefined)
})

test('two items that were written at the same time become one', () => {
  assert.equal(reasonToWrite({ ...situation, listed: [self], isSplit: true }), 'split')
})

test('into a full item one comes by turns, the less often the more members there are', () => {
  const full = { ...situation, listed: crowd(43) }
  assert.equal(reasonToWrite({ ...full, listed: crowd(42) }), 'absent')
  const shareOf = (contactCount: number) => {
    const chances = Array.from({ length: 10_000 }, (_, index) => (index + 0.5) / 10_000)
    const turns = chances.filter(
      (chance) => reasonToWrite({ ...full, contactCount, chance }) === 'turn',
    )
    return turns.length / chances.length
  }
  assert.equal(shareOf(0), 0.25)
  assert.ok(Math.abs(shareOf(1000) - 43 / 4000) < 0.001)
})

test('members that have said nothing for four hours are gone, and none is of the future', () => {
  const ages = [0, -4 * MINUTE_MS, 3.9 * HOUR_MS, 4 * HOUR_MS, 100 * HOUR_MS, -6 * MINUTE_MS]
  const present = withoutGone(
    ages.map((age, index) => member(index, age)),
    NOW_MS,
  )
  assert.deepEqual(
    present.map(({ tag }) => Number.parseInt(tag, 16)),
    [0, 1, 2],
  )
})

test('of what several items say, the latest of each member counts', () => {
  const merged = mergeMembers([member(1, 5000), member(2, 0)], [member(1, 1000), member(2, 9000)])
  assert.deepEqual(merged, [member(1, 1000), member(2, 0)])
})

test('what is written begins with the writer; the order of the others is chance', () => {
  const others = crowd(30)
  const draws = Array.from({ length: 20 }, () =>
    membersToWrite(self, [member(1, HOUR_MS), ...others], Math.random),
  )
  for (const [first, ...rest] of draws) {
    assert.deepEqual(first, self)
    assert.deepEqual(new Set(rest), new Set(others))
  }
  assert.ok(new Set(draws.map(([, second]) => second?.tag)).size > 5)
})

test('the more members, the longer they wait before writing; alone nobody waits', () => {
  assert.equal(
    jitterMs(0, () => 1),
    0,
  )
  assert.equal(
    jitterMs(50, () => 0.5),
    2500,
  )
  assert.equal(
    jitterMs(100_000, () => 1),
    MINUTE_MS,
  )
})

test('rounds: soon after a write or where nobody answers, rarely where all is well', () => {
  const waits = (outcome: RoundOutcome, isAlone: boolean) =>
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map(
      (inARow) => nextRoundMs(outcome, { inARow, isAlone, random: () => 0.5 }) / 1000,
    )
  const doubling = [1, 2, 4, 8, 16, 32]
  assert.deepEqual(waits('nobody answered', true), [...doubling, 60, 60, 60, 60, 60, 60])
  assert.deepEqual(
    waits('wrote', false).slice(0, 6),
    doubling.map((step) => 4 * step),
  )
  assert.equal(waits('wrote', false).at(-1), 3600)
  assert.deepEqual(waits('kept', true).slice(0, 7), [20, 40, 80, 160, 320, 600, 600])
  assert.ok(waits('kept', false).every((seconds) => seconds === 3600))
})
