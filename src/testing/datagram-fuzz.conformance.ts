/** For tests: what a stranger, or a member that went mad, may send to a DHT. */
import assert from 'node:assert/strict'
import type { RemoteInfo } from 'node:dgram'

import { AskedSources } from '../discovery/asked-sources.ts'
import type { PeerAddress } from '../discovery/discovery.ts'
import { decodeDatagram, type BencodeValue } from '../discovery/krpc-bencode.ts'
import { MAX_MEMBER_MESSAGE_BYTES, MemberEnvelope } from '../discovery/member-envelope.ts'
import { OwnAddresses } from '../discovery/own-addresses.ts'
import { DatagramSeal } from '../discovery/sealed-datagram.ts'
import { SourceLimit } from '../discovery/source-limit.ts'
import { PUBLIC_SWARM_KEY, type SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { BENCODE } from './fuzz/grammars.ts'
import { Mutator } from './fuzz/mutator.ts'
import { SeededRandom } from './seeded-random.ts'
import { bencoded } from './bencoded.ts'
import { addressOf, collect, testKey, Testnet, testSwarmKey } from './dht-testnet.ts'
import { KrpcClient } from './krpc-client.ts'

const id = Buffer.alloc(20, 1)
const key = Buffer.alloc(20, 2)
const token = Buffer.alloc(20, 3)
const t = Buffer.from('aa')
// Loopback: a node asks the nodes that it is told of.
const peer = Buffer.from([127, 0, 0, 1, 200, 1])
const UNLIMITED = { perSecond: 1e9, burst: 1e9 }
const BATCH = 50

const question = (q: string, a: object) => bencoded({ t, y: 'q', q, a: { id, ...a } })
const answer = (r: object) => bencoded({ t, y: 'r', r: { id, ...r } })

/** What nodes say to each other. */
export const SANE: readonly Buffer[] = [
  question('ping', {}),
  question('find_node', { target: key }),
  question('get_peers', { info_hash: key }),
  question('get', { target: key }),
  question('announce_peer', { info_hash: key, token, port: 6881, implied_port: 1 }),
  question('put', { token, v: 'x', k: Buffer.alloc(32), sig: Buffer.alloc(64), seq: 1 }),
  answer({}),
  answer({ token, nodes: Buffer.concat([key, peer, id, peer]) }),
  answer({ token, values: [peer, peer] }),
  bencoded({ t, y: 'e', e: [203, 'no'] }),
]

/** Each of these ended a process that ran bittorrent-dht 11.0.12 on a bare socket. */
export const CRASHERS: readonly Buffer[] = [
  question('find_node', { target: 1 }),
  question('find_node', { target: [1] }),
  question('get_peers', { info_hash: 1 }),
  question('get_peers', { info_hash: { a: 1 } }),
  question('announce_peer', { info_hash: key, token: 1, port: 6881 }),
  question('announce_peer', { info_hash: key, token: [token], port: 6881 }),
  question('get', { target: 1 }),
  question('get', { target: [1] }),
  question('put', { token: 1, v: 'x' }),
  question('put', { token, v: 'x', sig: Buffer.alloc(64) }),
  bencoded({ t, y: { toString: 'x' } }),
  bencoded({ t, y: 'q', q: { toString: 'x' }, a: { id } }),
  bencoded({ t, y: 'r', r: { id: 1 } }),
  bencoded({ t, y: 'e', e: [{ toString: 'x' }] }),
  // The decoder of the library goes back in its input, for ever.
  Buffer.from('l-3:e'),
  Buffer.from('d1:al-3:eee'),
  Buffer.from('d1:ad9:__proto__d5:tokeni1eee1:q13:announce_peer1:t2:aa1:y1:qe'),
]

const SEEDS = [...SANE, ...CRASHERS].map(latin1)

/** Changes only what the answer carries: its transaction must be right, or it is dropped early. */
function asAnswerTo(transaction: Uint8Array, mutated: string): Buffer {
  return Buffer.from(mutated.replace('1:t2:aa', `1:t2:${latin1(transaction)}`), 'latin1')
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

/**
 * Sends every crasher and `count` mutated datagrams to a real node, as questions and as answers to its
 * own questions, and shows that it still answers and that nothing failed inside of the library.
 */
export async function fuzzDht(options: {
  isPublic: boolean
  count: number
  seed: number
}): Promise<void> {
  const { isPublic, count, seed } = options
  const mutator = new Mutator(new SeededRandom(seed), BENCODE, SEEDS)
  const failures: unknown[] = []
  const log: Log = {
    ...silentLog,
    child: () => log,
    warn: (fields: unknown) => failures.push(fields),
  }
  const tuning = {
    timeoutMs: 40,
    strangerRate: UNLIMITED,
    knownRate: UNLIMITED,
    totalRate: UNLIMITED,
  }
  const swarmKey = isPublic ? PUBLIC_SWARM_KEY : testSwarmKey('fuzz')
  await using net = await Testnet.open(2, { isPublic, swarmKey, log, tuning })
  await using client = isPublic ? await KrpcClient.open() : await MemberClient.open(swarmKey)
  const target = net.at(0)
  net.at(1).announce(testKey('held'))
  await net.settled()

  client.onMessage((message, source) => void answerBadly(message, source.port))
  const lookups: Promise<unknown>[] = []
  for (const crasher of CRASHERS) await client.send(crasher, addressOf(target))
  for (let sent = 0; sent < count; sent += BATCH) {
    // The table knows the client by now, so that each lookup asks it.
    lookups.push(collect(target, testKey(`lookup ${sent}`)))
    for (let index = 0; index < BATCH; index += 1)
      await client.send(
        Buffer.from(mutator.next(), 'latin1').subarray(0, MAX_MEMBER_MESSAGE_BYTES),
        addressOf(target),
      )
    await client.ask(addressOf(target), { q: 'ping', id })
  }
  await Promise.all(lookups)
  const found = await collect(net.at(0), testKey('held'), { limit: 1 })
  assert.deepEqual(found, [addressOf(net.at(1))], `seed ${seed}`)
  assert.deepEqual(failures, [], `seed ${seed}`)

  async function answerBadly(message: Buffer, port: number): Promise<void> {
    const transaction = /1:t2:([\s\S]{2})1:y1:qe$/.exec(message.toString('latin1'))?.[1]
    if (transaction === undefined) return
    const tid = Buffer.from(transaction, 'latin1')
    await client.send(asAnswerTo(tid, mutator.next()).subarray(0, MAX_MEMBER_MESSAGE_BYTES), {
      host: '127.0.0.1',
      port,
    })
    await client.send(bencoded({ t: tid, y: 'r', r: { id, token } }), { host: '127.0.0.1', port })
  }
}

const ANSWER_TIMEOUT_MS = 5_000
const MAX_OVERHEARD = 1000

/** For tests: what a KrpcClient is to the open swarm, to a closed one: it has the key, and no manners. */
export class MemberClient implements AsyncDisposable {
  readonly #client: KrpcClient
  readonly #envelope: MemberEnvelope
  readonly #listeners = new Set<(message: Buffer, source: RemoteInfo) => void>()
  /** the first datagrams that went either way, as somebody else sees them pass */
  readonly overheard: Buffer[] = []
  #transaction = 0

  private constructor(client: KrpcClient, swarmKey: SwarmKey) {
    const unlimited = new SourceLimit({ perSource: UNLIMITED, all: UNLIMITED })
    this.#client = client
    this.#envelope = new MemberEnvelope({
      seal: new DatagramSeal({ swarmKeys: new SwarmKeys(swarmKey), label: 'dd1/datagram\0' }),
      asked: new AskedSources(),
      ownAddresses: new OwnAddresses(client.address),
      limits: { strangers: unlimited, known: unlimited },
    })
    // Each datagram opens once, however many listen.
    client.onMessage((datagram, source) => {
      this.#overhear(datagram)
      const message = this.#envelope.open(datagram, { host: source.address, port: source.port })
      if (message) for (const listener of this.#listeners) listener(message, source)
    })
  }

  static async open(swarmKey: SwarmKey): Promise<MemberClient> {
    return new MemberClient(await KrpcClient.open(), swarmKey)
  }

  /** Called with every message that a member sent here. */
  onMessage(listener: (message: Buffer, source: RemoteInfo) => void): void {
    this.#listeners.add(listener)
  }

  /** Sends bytes as they are, as many as fit, but sealed. */
  async send(message: Uint8Array, to: PeerAddress): Promise<void> {
    const datagram = this.#envelope.seal(message.subarray(0, MAX_MEMBER_MESSAGE_BYTES), to)
    this.#overhear(datagram)
    await this.#client.send(datagram, to)
  }

  /** Asks, and waits for the answer to this question. */
  async ask(
    to: PeerAddress,
    { q, a, id: ownId = Buffer.alloc(20, 9) }: { q: string; a?: object; id?: Buffer },
  ): Promise<{ bytes: number; questionBytes: number; r: ReadonlyMap<string, BencodeValue> }> {
    this.#transaction += 1
    const transaction = Buffer.alloc(2)
    transaction.writeUInt16BE(this.#transaction)
    const asked = bencoded({ t: transaction, y: 'q', q, a: { id: ownId, ...a } })
    const answered = this.#answerTo(transaction)
    await this.send(asked, to)
    return { ...(await answered), questionBytes: asked.length }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]()
  }

  #overhear(datagram: Buffer): void {
    if (this.overheard.length < MAX_OVERHEARD) this.overheard.push(datagram)
  }

  async #answerTo(
    transaction: Buffer,
  ): Promise<{ bytes: number; r: ReadonlyMap<string, BencodeValue> }> {
    const answered = Promise.withResolvers<{
      bytes: number
      r: ReadonlyMap<string, BencodeValue>
    }>()
    const listener = (message: Buffer): void => {
      const fields = decodeDatagram(message)
      if (!(fields instanceof Map)) return
      const [t2, r] = [fields.get('t'), fields.get('r')]
      const isThis = Buffer.isBuffer(t2) && t2.equals(transaction)
      if (isThis && r instanceof Map) answered.resolve({ bytes: message.length, r })
    }
    this.#listeners.add(listener)
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS)
    const onTimeout = () => answered.reject(signal.reason)
    signal.addEventListener('abort', onTimeout)
    try {
      return await answered.promise
    } finally {
      signal.removeEventListener('abort', onTimeout)
      this.#listeners.delete(listener)
    }
  }
}
