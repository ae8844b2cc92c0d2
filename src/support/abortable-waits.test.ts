import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'

import { AbortableWaits } from './abortable-waits.ts'

const never = new Promise<never>(() => {})

test('a wait brings what its work brings, and fails as it fails', async () => {
  const waits = new AbortableWaits(new AbortController().signal)
  assert.equal(await waits.wait(Promise.resolve(1)), 1)
  await assert.rejects(waits.wait(Promise.reject(new Error('broken'))), /broken/)
  assert.equal(await waits.wait(Promise.resolve(2)), 2)
})

test('the signal ends the wait that is under way, and every later one', async () => {
  const controller = new AbortController()
  const waits = new AbortableWaits(controller.signal)
  assert.equal(await waits.wait(Promise.resolve(1)), 1)
  const waiting = waits.wait(never)
  controller.abort(new Error('enough'))
  await assert.rejects(waiting, /enough/)
  await assert.rejects(waits.wait(never), /enough/)
  await assert.rejects(waits.wait(Promise.reject(new Error('too late'))), /enough/)
})

test('any number of waits is one listener, and none after the end', async () => {
  const { signal } = new AbortController()
  const waits = new AbortableWaits(signal)
  for (let round = 0; round < 10; round += 1) await waits.wait(Promise.resolve())
  assert.equal(getEventListeners(signal, 'abort').length, 1)
  waits.end()
  assert.equal(getEventListeners(signal, 'abort').length, 0)
})

test('work that tells of its end by a call is waited for like any other', async () => {
  const controller = new AbortController()
  const waits = new AbortableWaits(controller.signal)
  assert.equal(await waits.settled((resolve) => queueMicrotask(() => resolve(1))), 1)
  await assert.rejects(
    waits.settled((_, reject) => queueMicrotask(() => reject(new Error('broken')))),
    /broken/,
  )
  const waiting = waits.settled(() => undefined)
  controller.abort(new Error('enough'))
  await assert.rejects(waiting, /enough/)
})
