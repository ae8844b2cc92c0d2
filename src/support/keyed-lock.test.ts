import assert from 'node:assert/strict'
import { test } from 'node:test'

import { KeyedLock } from './keyed-lock.ts'

test('runs work under one key in the order in which it came, one at a time', async () => {
  const lock = new KeyedLock()
  const events: string[] = []
  const first = Promise.withResolvers<void>()
  const work = (name: string, wait: Promise<void>) =>
    lock.run('key', async () => {
      events.push(`${name} begins`)
      await wait
      events.push(`${name} ends`)
    })
  const all = [work('a', first.promise), work('b', Promise.resolve())]
  await Promise.resolve()
  first.resolve()
  await Promise.all(all)
  assert.deepEqual(events, ['a begins', 'a ends', 'b begins', 'b ends'])
})

test('does not let one key wait for another', async () => {
  const lock = new KeyedLock()
  const never = Promise.withResolvers<void>()
  const held = lock.run('a', () => never.promise)
  assert.equal(await lock.run('b', () => Promise.resolve(1)), 1)
  never.resolve()
  await held
})

test('goes on after work that failed, and tells only its caller', async () => {
  const lock = new KeyedLock()
  const failing = lock.run('key', () => Promise.reject(new Error('broken')))
  const next = lock.run('key', () => Promise.resolve('done'))
  await assert.rejects(failing, /broken/)
  assert.equal(await next, 'done')
})
