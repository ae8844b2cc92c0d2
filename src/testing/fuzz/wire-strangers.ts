/**
 * Strangers at real engines, in one process and without sockets: what they say reaches the wire as from a socket, and
 * what the engine answers is counted. Engines are not told that this is a test.
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'

import Wire from 'bittorrent-protocol'
import Peer from 'webtorrent/lib/peer.js'

import { digestOf } from '../../oci/digest.ts'
import { DiskBlobStore } from '../../store/disk-blob-store.ts'
import { makeTorrent, pieceHashOf } from '../../torrent/metainfo.ts'
import { TorrentEngine, type SeedContent } from '../../torrent/torrent-engine.ts'
import { testBlob } from '../engine-fixture.ts'
import { handshake } from '../wire-fuzz.ts'
import { MemorySocket } from './memory-socket.ts'

const BLOB_BYTES = 3 * 1024 * 1024
const HANDSHAKE_BYTES = 68

/** A wire that nobody has taken on yet, joined to its socket as those of an engine are. */
export function bareWire(socket: MemorySocket): Wire {
  const wire = new Wire('tcpIncoming')
  wire.once('finish', () => socket.destroy())
  const peer = { conn: socket as unknown as Socket, wire }
  Peer.prototype.setThrottlePipes.call(peer)
  return wire
}

/** A connection to an engine that holds a blob with 16 KiB of metadata; it is open for messages. */
export async function openStranger({ isDeaf = false }: { isDeaf?: boolean } = {}): Promise<
  { socket: MemorySocket } & AsyncDisposable
> {
  const size = 1000 * 262_144
  const record = makeTorrent({ digest: digestOf(''), size, pieces: Buffer.alloc(20_000) })
  const read = async (_offset: number, length: number) => Buffer.alloc(length)
  const connections = forbidConnections()
  const engine = await openEngine({ record, content: { size, hasPiece: () => true, read } })
  const socket = new MemorySocket({ port: 1, isDeaf })
  engine.accept(socket as unknown as Socket)
  await sayHello(socket, handshake(record.infoHash))
  return {
    socket,
    [Symbol.asyncDispose]: async () => {
      await engine[Symbol.asyncDispose]()
      connections[Symbol.dispose]()
    },
  }
}

/** One engine that has a blob and one that wants it. */
export class Engines implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack
  readonly #both: readonly TorrentEngine[]
  readonly infoHash: string
  #port = 0

  private constructor(
    stack: AsyncDisposableStack,
    both: readonly TorrentEngine[],
    infoHash: string,
  ) {
    this.#stack = stack
    this.#both = both
    this.infoHash = infoHash
  }

  static async open(): Promise<Engines> {
    const stack = new AsyncDisposableStack()
    stack.use(forbidConnections())
    const blob = testBlob(Buffer.alloc(BLOB_BYTES, 'fuzz'))
    const seed = stack.use(
      await openEngine({
        record: blob.record,
        content: {
          size: blob.bytes.length,
          hasPiece: () => true,
          read: async (offset, length) => blob.bytes.subarray(offset, offset + length),
        },
      }),
    )
    const leecher = stack.use(await openEngine())
    const dataDir = await mkdtemp(join(tmpdir(), 'ddocker-fuzz-'))
    stack.defer(() => rm(dataDir, { recursive: true, force: true }))
    const store = stack.use(await DiskBlobStore.open({ dataDir }))
    const { record } = blob
    const partial = await store.openPartial({
      ...record,
      pieceHash: (index) => pieceHashOf(record, index),
    })
    stack.use(
      await leecher.download(
        { record, partial },
        { closeContent: async () => partial[Symbol.asyncDispose]() },
      ),
    )
    return new Engines(stack, [seed, leecher], record.infoHash)
  }

  /** Hands a connection to one of them. */
  accept(socket: MemorySocket, which: number): void {
    this.#both[which % this.#both.length]?.accept(socket as unknown as Socket)
  }

  /** A stranger that has said its handshake and was answered; every other is of our kind, one in eight never reads. */
  async connect(index: number): Promise<MemorySocket> {
    this.#port = (this.#port % 60_000) + 1
    const socket = new MemorySocket({ port: this.#port, isDeaf: index % 8 === 7 })
    this.accept(socket, index >> 1)
    const peerId = `${index % 2 === 0 ? '-DD0100-' : '-XX0001-'}${String(this.#port).padStart(12, '0')}`
    const hello = Buffer.concat([handshake(this.infoHash).subarray(0, 48), Buffer.from(peerId)])
    await sayHello(socket, hello)
    return socket
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]()
  }
}

async function openEngine(holds?: Omit<SeedContent, 'close'>): Promise<TorrentEngine> {
  return await TorrentEngine.open({
    peerPort: 6881,
    nodeId: 'e'.repeat(64),
    channel: { dial: dialNobody, hasOtherKeyFor: () => false, memberAt: () => undefined },
    load: async (infoHash) =>
      infoHash === holds?.record.infoHash ? { ...holds, close: async () => {} } : undefined,
  })
}

/** Says a handshake and waits until messages are read. */
async function sayHello(socket: MemorySocket, hello: Uint8Array): Promise<void> {
  socket.deliver(hello)
  for (let turns = 0; socket.writableLength + socket.sentBytes < HANDSHAKE_BYTES; turns += 1) {
    assert.ok(turns < 1000 && !socket.destroyed, 'no answer to a handshake')
    await nextTurn()
  }
  // It opens a turn after both handshakes.
  await nextTurn()
  await nextTurn()
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Whatever an engine does with the addresses that strangers name: no packet leaves. */
function forbidConnections(): Disposable {
  const forbidden = mock.method(Socket.prototype, 'connect', () => {
    throw new Error('a connection to an address that a stranger named')
  })
  return { [Symbol.dispose]: () => forbidden.mock.restore() }
}

/** Strangers name others: nobody is called. */
function dialNobody(): Socket {
  const socket = new MemorySocket({ port: 1 })
  setImmediate(() => socket.destroy(new Error('nobody is there')))
  return socket as unknown as Socket
}
