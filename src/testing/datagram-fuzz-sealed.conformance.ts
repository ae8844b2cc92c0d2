/** For tests: what reaches the seal of a closed swarm, from those without its key and from a mad member. */
import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'

import { AskedSources } from '../discovery/asked-sources.ts'
import { MemberEnvelope } from '../discovery/member-envelope.ts'
import { OwnAddresses } from '../discovery/own-addresses.ts'
import { DatagramSeal } from '../discovery/sealed-datagram.ts'
import { SourceLimit } from '../discovery/source-limit.ts'
import { deriveKey } from '../membership/swarm-key.ts'
import { testSwarmKey, testSwarmKeys } from './dht-testnet.ts'
import { SeededRandom } from './seeded-random.ts'

const LABEL = 'dd1/datagram\0'
const NOW_SECONDS = 1_800_000_000
const now = () => NOW_SECONDS * 1000
const swarmKey = testSwarmKey('fuzz')
const HEADER_BYTES = 6
const STEP_BYTES = 192

/** Without the key: changed, cut, joined, said again, sealed with another key, random. Nothing opens. */
export function fuzzWithoutKey({ count, seed }: { count: number; seed: number }): void {
  const random = new SeededRandom(seed)
  const seal = new DatagramSeal({ swarmKeys: testSwarmKeys('fuzz', 'old'), label: LABEL, now })
  const member = new DatagramSeal({ swarmKeys: testSwarmKeys('fuzz'), label: LABEL, now })
  const stranger = new DatagramSeal({ swarmKeys: testSwarmKeys('x'), label: LABEL, now })
  const overheard = Array.from({ length: 64 }, () => member.seal(random.bytes(random.below(1100))))
  for (const datagram of overheard) assert.ok(seal.open(datagram), `seed ${seed}`)
  for (let index = 0; index < count; index += 1) {
    const datagram =
      random.below(50) === 0
        ? stranger.seal(random.bytes(random.below(1100)))
        : spoiled(random.pick(overheard), random.pick(overheard), random)
    assert.equal(seal.open(datagram), undefined, `seed ${seed}, input ${index}`)
  }
}

/** With the key: any time, any length, any bytes inside. What opens is of now, and what its length says. */
export function fuzzWithKey({ count, seed }: { count: number; seed: number }): void {
  const random = new SeededRandom(seed)
  const seal = new DatagramSeal({ swarmKeys: testSwarmKeys('fuzz'), label: LABEL, now })
  const envelope = openEnvelope(seal)
  const key = deriveKey(swarmKey, LABEL)
  for (let index = 0; index < count; index += 1) {
    const inside = random.bytes(STEP_BYTES * (1 + random.below(6)))
    const seconds = random.pick([NOW_SECONDS + random.below(200) - 100, random.below(2 ** 32)])
    const length = random.pick([random.below(inside.length + 20), random.below(2 ** 16)])
    inside.writeUInt32BE(seconds)
    inside.writeUInt16BE(length, 4)
    // To whom: to this node, to a neighbour, or to anybody.
    const to = random.pick(['7f0000011ae1', '7f0000011ae2', ''])
    inside.write(to, HEADER_BYTES, 'hex')
    const datagram = encrypted(inside, { key, nonce: random.bytes(12) })
    const isGood = Math.abs(seconds - NOW_SECONDS) <= 60 && HEADER_BYTES + length <= inside.length
    const what = `seed ${seed}, input ${index}`
    if (random.below(2) === 0) {
      const wanted = isGood ? inside.subarray(HEADER_BYTES, HEADER_BYTES + length) : undefined
      assert.deepEqual(seal.open(datagram), wanted, what)
    } else {
      const message = envelope.open(datagram, { host: '127.0.0.1', port: 9 })
      if (to === '7f0000011ae1') assert.equal(message !== undefined, isGood && length > 6, what)
      if (to === '7f0000011ae2') assert.equal(message, undefined, what)
      assert.ok(message === undefined || (isGood && message.length === length - 6), what)
    }
    assert.equal(seal.open(datagram), undefined, `again: ${what}`)
  }
}

function openEnvelope(seal: DatagramSeal): MemberEnvelope {
  const rate = { perSecond: 1e9, burst: 1e9 }
  const unlimited = new SourceLimit({ perSource: rate, all: rate })
  return new MemberEnvelope({
    seal,
    asked: new AskedSources(),
    ownAddresses: new OwnAddresses({
      port: 0x1ae1,
      interfaces: () => [{ address: '127.0.0.1', cidr: '127.0.0.1/8' }],
    }),
    limits: { strangers: unlimited, known: unlimited },
  })
}

function encrypted(inside: Buffer, { key, nonce }: { key: Buffer; nonce: Buffer }): Buffer {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 })
  return Buffer.concat([nonce, cipher.update(inside), cipher.final(), cipher.getAuthTag()])
}

function spoiled(datagram: Buffer, other: Buffer, random: SeededRandom): Buffer {
  const at = random.below(datagram.length)
  switch (random.below(6)) {
    case 0:
      return datagram
    case 1:
      return datagram.subarray(0, at)
    case 2:
      return Buffer.concat([datagram.subarray(0, at), random.bytes(random.below(200))])
    case 3:
      return Buffer.concat([datagram, random.bytes(STEP_BYTES)])
    case 4: {
      // Cut in steps, so that the length is one of a sealed datagram. Two pieces of one are that one: said again.
      const cut = 12 + STEP_BYTES * random.below(Math.ceil((datagram.length - 28) / STEP_BYTES) + 1)
      return Buffer.concat([datagram.subarray(0, cut), other.subarray(12)])
    }
    default: {
      const flipped = Buffer.from(datagram)
      flipped[at] = (flipped[at] ?? 0) ^ (1 << random.below(8))
      return flipped
    }
  }
}
