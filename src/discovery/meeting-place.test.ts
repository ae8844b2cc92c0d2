import assert from 'node:assert/strict'
import { createHash, createPublicKey, verify } from 'node:crypto'
import { test } from 'node:test'

import { SeededRandom } from '../testing/seeded-random.ts'
import { testSwarmKey } from '../testing/dht-testnet.ts'
import { daysToRead, daysToWrite, meetingPlaceOf } from './meeting-place.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000
const swarmKey = testSwarmKey('place')

test('members have the same place on the same day; another day or another swarm has nothing of it', () => {
  const bytesOf = ({ target, publicKey, salt, sealingKey }: ReturnType<typeof meetingPlaceOf>) =>
    [target, publicKey, salt, sealingKey.export()].map((bytes) => bytes.toString('hex'))
  const place = bytesOf(meetingPlaceOf(swarmKey, 20_000))
  assert.deepEqual(bytesOf(meetingPlaceOf(swarmKey, 20_000)), place)
  const others = [
    meetingPlaceOf(swarmKey, 20_001),
    meetingPlaceOf(swarmKey, 19_999),
    meetingPlaceOf(testSwarmKey('other'), 20_000),
  ]
  for (const other of others) for (const part of bytesOf(other)) assert.ok(!place.includes(part))
})

test('the target is that of BEP 44, and the key signs', () => {
  const { target, publicKey, salt, sign } = meetingPlaceOf(swarmKey, 1)
  assert.deepEqual(createHash('sha1').update(publicKey).update(salt).digest(), target)
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), publicKey])
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
  assert.ok(verify(null, Buffer.from('x'), key, sign(Buffer.from('x'))))
})

test('who reads finds what was written up to two hours ago, also when a day has ended meanwhile', () => {
  const random = new SeededRandom(1)
  for (let round = 0; round < 2000; round += 1) {
    const writtenAtMs = 20_000 * DAY_MS + random.next() * 3 * DAY_MS
    const readAtMs = writtenAtMs + random.next() * 2 * HOUR_MS
    const written = daysToWrite(swarmKey, writtenAtMs)
    assert.ok(daysToRead(swarmKey, readAtMs).some((day) => written.includes(day)))
    assert.ok(written.length <= 2)
  }
})

test('most of the day there is one item, and days of swarms begin at different times', () => {
  const hours = Array.from({ length: 240 }, (_, index) => 20_000 * DAY_MS + (index * DAY_MS) / 240)
  const twice = hours.filter((nowMs) => daysToRead(swarmKey, nowMs).length === 2)
  assert.ok(twice.length >= 19 && twice.length <= 21)
  const beginnings = Array.from({ length: 20 }, (_, index) => {
    const key = testSwarmKey(`swarm ${index}`)
    return hours.findIndex((nowMs) => daysToRead(key, nowMs).length === 2)
  })
  assert.ok(new Set(beginnings).size > 10)
})
