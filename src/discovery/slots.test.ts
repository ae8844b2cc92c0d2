import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Slots } from './slots.ts'

const never = new AbortController().signal

test('lets in so many at once, and the others in the order they came', async () => {
  const slots = new Slots(2)
  const entered: string[] = []
  const enter = async (name: string) => {
    const giveBack = await slots.take(never)
    entered.push(name)
    return giveBack
  }
  const [a, b, c, d] = [enter('a'), enter('b'), enter('c'), enter('d')]
  const leaveA = await a
  const leaveB = await b
  assert.deepEqual(entered, ['a', 'b'])
  leaveA()
  const leaveC = await c
  assert.deepEqual(entered, ['a', 'b', 'c'])
  leaveB()
  leaveC()
  await d
  assert.deepEqual(entered, ['a', 'b', 'c', 'd'])
})

test('who gives up while waiting takes no slot with him', async () => {
  const slots = new Slots(1)
  const leave = await slots.take(never)
  const stopping = new AbortController()
  const impatient = slots.take(stopping.signal)
  const patient = slots.take(never)
  stopping.abort(new Error('too long'))
  await assert.rejects(impatient, /too long/)
  leave()
  const leaveAgain = await patient
  leaveAgain()
  await slots.take(never)
})

test('a slot that is handed over in the moment its taker gives up goes to the next', async () => {
  const slots = new Slots(1)
  const leave = await slots.take(never)
  const stopping = new AbortController()
  const impatient = slots.take(stopping.signal)
  const patient = slots.take(never)
  stopping.abort(new Error('too long'))
  leave()
  await assert.rejects(impatient, /too long/)
  await patient
})
