/** The BitTorrent wire of real engines, message by message. */
import assert from 'node:assert/strict'

import type { SeededRandom } from '../seeded-random.ts'
import { handshake, KNOWN_CRASHERS, message } from '../wire-fuzz.ts'
import type { FuzzTarget } from './fuzz.ts'
import { WIRE_MESSAGE, WORDS } from './grammars.ts'
import { MemorySocket } from './memory-socket.ts'
import { Mutator } from './mutator.ts'
import { bytesOf } from './promises.ts'
import { bareWire, Engines } from './wire-strangers.ts'

const CONNECTIONS = 24
// Behind its length; the first message of all, which keeps a connection alive, has none.
const KIND_AT = 4
const EXTENDED = 20
const HANDSHAKE_BYTES = 68
// A connection that an engine takes on costs ten times what its handshake costs to read.
const ENGINE_EVERY = 128
const extended = (extension: number, payload: string) =>
  message(EXTENDED, Buffer.from([extension]), Buffer.from(payload, 'latin1'))

const SANE: readonly Buffer[] = [
  Buffer.alloc(4),
  ...[0, 1, 2, 3, 14, 15].map((kind) => message(kind)),
  message(4, 5),
  message(5, Buffer.from([0xff, 0xf0])),
  message(6, 1, 16_384, 16_384),
  message(7, 1, 16_384, Buffer.alloc(100)),
  message(8, 1, 16_384, 16_384),
  message(13, 1),
  message(16, 1, 0, 16_384),
  message(17, 1),
  extended(0, 'd1:md8:dd_peersi3e11:lt_donthavei2e11:ut_metadatai1ee1:pi6881e4:reqqi512e1:v2:xxe'),
  extended(0, `d2:dd64:${'d'.repeat(64)}1:md11:ut_metadatai1ee13:metadata_sizei300ee`),
  extended(1, 'd8:msg_typei0e5:piecei0ee'),
  extended(1, `d8:msg_typei1e5:piecei0e10:total_sizei300ee${'x'.repeat(300)}`),
  extended(1, 'd8:msg_typei2e5:piecei0ee'),
  extended(2, '\0\0\0\x05'),
  extended(3, 'd1:al16:203.0.113.7:688115:[2001:db8::1]:111:203.0.113.9ee'),
]

const SEEDS = [...SANE, ...KNOWN_CRASHERS]
  .filter(({ length }) => length < 4000)
  .map((bytes) => bytes.toString('latin1'))

/** Messages with something wrong about them, one after the other. */
export function wrongMessages(random: SeededRandom): () => Uint8Array {
  const mutator = new Mutator(random, WIRE_MESSAGE, SEEDS)
  return () => withTrueLength(mutator.next(), random.below(10))
}

/** Messages behind the handshake: those of BEP 3 and 6. */
export async function openMessagesTarget(): Promise<FuzzTarget> {
  return await openTarget('wire messages', (kind) => kind !== EXTENDED)
}

/** Extended ones: the extended handshake (BEP 10), ut_metadata (BEP 9), and `dd_peers`. */
export async function openExtendedTarget(): Promise<FuzzTarget> {
  return await openTarget('extended messages', (kind) => kind === EXTENDED)
}

async function openTarget(name: string, isOfKind: (kind: number) => boolean): Promise<FuzzTarget> {
  const engines = await Engines.open()
  const strangers: Stranger[] = []
  let turn = 0
  return {
    name,
    grammar: WIRE_MESSAGE,
    seeds: SEEDS.filter((seed) => isOfKind(seed.charCodeAt(KIND_AT))),
    codes: [],
    settle() {
      turn = (turn + 1) % CONNECTIONS
      return strangers[turn]?.socket.destroyed === false ? undefined : renew(turn)
    },
    read(input) {
      const stranger = strangers[turn]
      if (!stranger) return undefined
      const { socket } = stranger
      const sentBefore = socket.sentBytes
      stranger.said += 1
      socket.deliver(withTrueLength(input, stranger.said))
      assert.ok(socket.writableLength <= MAX_UNSENT_BYTES, `${socket.writableLength} bytes wait`)
      if (stranger.said >= MESSAGES_EACH) socket.destroy()
      return kindOf(input, socket.destroyed, socket.sentBytes - sentBefore)
    },
    close: () => engines[Symbol.asyncDispose](),
  }

  async function renew(index: number): Promise<void> {
    strangers[index] = { socket: await engines.connect(index), said: 0 }
  }
}

interface Stranger {
  readonly socket: MemorySocket
  said: number
}

// What one stranger may say before another comes: long enough to reach limits, short enough to see each begin.
const MESSAGES_EACH = 400
/** What may wait for a peer that does not read, bytes (issue: at most 4 MiB of memory for one peer). */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024

/** The first 68 bytes (BEP 3), whole or in parts. */
export async function openHandshakeTarget(): Promise<FuzzTarget> {
  const engines = await Engines.open()
  const good = handshake(engines.infoHash).toString('latin1')
  let port = 0
  return {
    name: 'handshake',
    grammar: WORDS,
    seeds: [good, handshake('ab'.repeat(20)).toString('latin1'), good.repeat(2), good.slice(0, 40)],
    codes: [],
    // Connections go in a turn of the loop: many at once are dear to collect.
    settle: () => (port % 32 === 0 ? new Promise(setImmediate) : undefined),
    read(input) {
      port = (port % 60_000) + 1
      const socket = new MemorySocket({ port })
      const isForEngine = port % ENGINE_EVERY === 0
      const wire = isForEngine ? undefined : bareWire(socket)
      if (isForEngine) engines.accept(socket, port / ENGINE_EVERY)
      const bytes = bytesOf(input)
      const half = port % 3 === 0 ? bytes.length >> 1 : bytes.length
      socket.deliver(bytes.subarray(0, half))
      if (half < bytes.length && !socket.destroyed) socket.deliver(bytes.subarray(half))
      const answer = `${socket.destroyed} ${wire?.peerId === null} ${bytes.length < HANDSHAKE_BYTES}`
      if (wire && wire.peerId !== null) {
        assert.match(wire.peerId, /^[0-9a-f]{40}$/)
        assert.equal(input.slice(1, 20), 'BitTorrent protocol')
      }
      wire?.destroy()
      if (isForEngine) setImmediate(() => socket.destroy())
      return answer
    },
    close: () => engines[Symbol.asyncDispose](),
  }
}

/** Nine in ten have a true length, so that what follows is read as a message as well. */
function withTrueLength(input: string, count: number): Buffer {
  const bytes = bytesOf(input)
  if (bytes.length >= 4 && count % 10 !== 0) bytes.writeUInt32BE(bytes.length - 4)
  return bytes
}

function kindOf(input: string, isCutOff: boolean, sentBytes: number): string {
  const kind = input.charCodeAt(KIND_AT)
  const extension = kind === EXTENDED ? input.charCodeAt(KIND_AT + 1) : 0
  return `${kind} ${extension} ${isCutOff} ${Math.ceil(Math.log2(sentBytes + 1))} ${Math.ceil(Math.log2(input.length + 1))}`
}
