import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Turns } from './turns.ts'

test('each name gets so many turns at a time, in the order of asking', async () => {
  const turns = new Turns({ capacity: 2 })
  const started: string[] = []
  const take = async (name: string, label: string) => {
    const end = await turns.take(name)
    started.push(label)
    return end
  }
  const first = await Promise.all([take('a', 'a1'), take('a', 'a2'), take('b', 'b1')])
  const later = [take('a', 'a3'), take('a', 'a4')]
  await new Promise(setImmediate)
  assert.deepEqual(started, ['a1', 'a2', 'b1'])

  first[0]?.()
  first[0]?.()
  const third = await later[0]
  await new Promise(setImmediate)
  assert.deepEqual(started, ['a1', 'a2', 'b1', 'a3'])

  first[1]?.()
  const fourth = await later[1]
  assert.deepEqual(started.slice(4), ['a4'])
  assert.equal(turns.size, 2)
  third?.()
  fourth?.()
  first[2]?.()
  assert.equal(turns.size, 0)
})
