import assert from 'node:assert/strict'
import { test } from 'node:test'

import { DueQueue } from './due-queue.ts'

function drain(queue: DueQueue): string[] {
  const keys: string[] = []
  for (let key = queue.pop(); key !== undefined; key = queue.pop()) keys.push(key)
  return keys
}

/** Repeatable numbers from 0 to 1 (mulberry32). */
function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

test('gives keys by when they are due, and in the order they came if that is the same', () => {
  const queue = new DueQueue()
  for (const [key, dueMs] of [
    ['late', 30],
    ['first', 10],
    ['second', 10],
    ['new', Number.NEGATIVE_INFINITY],
  ] as const) {
    queue.schedule(key, dueMs)
  }
  assert.deepEqual(queue.peek()?.key, 'new')
  assert.deepEqual(drain(queue), ['new', 'first', 'second', 'late'])
})

test('moves a key that is scheduled again, and gives none that was removed', () => {
  const queue = new DueQueue()
  for (const [index, key] of ['a', 'b', 'c'].entries()) queue.schedule(key, index)
  queue.schedule('a', 5)
  queue.remove('b')
  assert.equal(queue.size, 2)
  assert.deepEqual(drain(queue), ['c', 'a'])
})

test('makes all due without changing their order', () => {
  const queue = new DueQueue()
  for (const [key, dueMs] of Object.entries({ overdue: 5, b: 30, a: 20 })) {
    queue.schedule(key, dueMs)
  }
  queue.scheduleAllBy(10)
  assert.equal(queue.peek()?.dueMs, 5)
  assert.deepEqual(drain(queue), ['overdue', 'a', 'b'])
})

test('stays in order through thousands of changes', () => {
  const seed = 20_240_817
  const random = seededRandom(seed)
  const queue = new DueQueue()
  const dueByKey = new Map<string, number>()
  for (let step = 0; step < 20_000; step += 1) {
    const key = `k${Math.floor(random() * 500)}`
    const dueMs = Math.floor(random() * 1000)
    if (random() < 0.2) {
      queue.remove(key)
      dueByKey.delete(key)
    } else {
      queue.schedule(key, dueMs)
      dueByKey.set(key, dueMs)
    }
  }
  const dues = drain(queue).map((key) => dueByKey.get(key))
  assert.equal(dues.length, dueByKey.size, `seed ${seed}`)
  assert.deepEqual(
    dues,
    dues.toSorted((a = 0, b = 0) => a - b),
    `seed ${seed}`,
  )
})
