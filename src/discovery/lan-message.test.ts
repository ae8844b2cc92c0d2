import assert from 'node:assert/strict'
import { test } from 'node:test'

import { SeededRandom } from '../testing/seeded-random.ts'
import { formatLanMessage, parseLanMessage } from './lan-message.ts'

const infoHash = 'ab'.repeat(20)
const message = { infoHash, port: 6881, cookie: 'c0ffee' }
const parse = (text: string) => parseLanMessage(Buffer.from(text, 'latin1'))

test('is written as BEP 14 has it, for both families', () => {
  assert.equal(
    formatLanMessage(message, { group: '239.192.152.143', groupPort: 6771 }).toString(),
    `BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\nInfohash: ${infoHash}\r\ncookie: c0ffee\r\n\r\n\r\n`,
  )
  assert.match(
    formatLanMessage(message, { group: 'ff15::efc0:988f', groupPort: 6771 }).toString(),
    /^Host: \[ff15::efc0:988f\]:6771\r$/m,
  )
})

test('comes back as it was written', () => {
  const bytes = formatLanMessage(message, { group: '239.192.152.143', groupPort: 6771 })
  assert.deepEqual(parseLanMessage(bytes), { infoHashes: [infoHash], port: 6881, cookie: 'c0ffee' })
})

test('reads several infohashes in any spelling, without a cookie', () => {
  const text = `BT-SEARCH * HTTP/1.1\r\nPORT:51413\r\nInfohash: ${infoHash.toUpperCase()}\r\ninfohash: ${'cd'.repeat(20)}\r\n\r\n`
  assert.deepEqual(parse(text), {
    infoHashes: [infoHash, 'cd'.repeat(20)],
    port: 51413,
    cookie: undefined,
  })
})

for (const [why, text] of [
  ['nothing', ''],
  ['another request', `GET / HTTP/1.1\r\nPort: 1\r\nInfohash: ${infoHash}\r\n\r\n`],
  ['no port', `BT-SEARCH * HTTP/1.1\r\nInfohash: ${infoHash}\r\n\r\n`],
  ['a port of zero', `BT-SEARCH * HTTP/1.1\r\nPort: 0\r\nInfohash: ${infoHash}\r\n\r\n`],
  ['a port too large', `BT-SEARCH * HTTP/1.1\r\nPort: 65536\r\nInfohash: ${infoHash}\r\n\r\n`],
  ['a port that is none', `BT-SEARCH * HTTP/1.1\r\nPort: 1e3\r\nInfohash: ${infoHash}\r\n\r\n`],
  ['no infohash', 'BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n\r\n'],
  ['a short infohash', 'BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: abcd\r\n\r\n'],
  ['too many headers', `BT-SEARCH * HTTP/1.1\r\n${'a: b\r\n'.repeat(70)}Port: 1\r\n`],
  [
    'too many bytes',
    `BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: ${infoHash}\r\n${' '.repeat(1400)}`,
  ],
] as const) {
  test(`takes no message with ${why}`, () => {
    assert.equal(parse(text), undefined)
  })
}

test('garbage is no message, and harms nobody', () => {
  const random = new SeededRandom(14)
  const whole = formatLanMessage(message, { group: '239.192.152.143', groupPort: 6771 })
  for (let count = 0; count < 5000; count += 1) {
    const bytes = Buffer.concat([
      whole.subarray(0, random.below(whole.length)),
      random.bytes(random.below(40)),
      whole.subarray(random.below(whole.length)),
    ])
    const parsed = parseLanMessage(bytes)
    assert.ok(!parsed || (parsed.port > 0 && parsed.port < 65536 && parsed.infoHashes.length > 0))
  }
})
