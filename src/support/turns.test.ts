import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Turns } from './turns.ts'

test('each name gets so much done at a time, in the order of asking', async () => {
  const turns = new Turns({ capacity: 4 })
  const started: string[] = []
  const take = async (name: string, weight: number) => {
    const end = await turns.take(name, weight)
    started.push(`${name}${weight}`)
    return end
  }
  const first = await Promise.all([take('a', 2), take('a', 2), take('b', 4)])
  const later = [take('a', 1), take('a', 4), take('a', 1)]
  await new Promise(setImmediate)
  assert.deepEqual(started, ['a2', 'a2', 'b4'])

  first[0]?.()
  first[0]?.()
  const small = await later[0]
  await new Promise(setImmediate)
  assert.deepEqual(started, ['a2', 'a2', 'b4', 'a1'])

  first[1]?.()
  small?.()
  const large = await later[1]
  assert.deepEqual(started.slice(4), ['a4'])
  large?.()
  ;(await later[2])?.()
  first[2]?.()
  assert.equal(turns.size, 0)
})
