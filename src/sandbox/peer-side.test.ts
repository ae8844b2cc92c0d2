import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import { OperationError } from '../errors.ts'
import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { makeNodeIdentity } from '../membership/node-identity.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { linkedPair } from '../support/message-link.ts'
import { RemoteCalls, type RemoteHandlers } from '../support/remote-calls.ts'
import { silentLog } from '../telemetry/log.ts'
import { testSwarmKey } from '../testing/dht-testnet.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { PeerSide, type NodeAnswers } from './peer-side.ts'
import type { PeerSideProcess } from './peer-side-process.ts'
import type { NodeCalls, NodeInterface, PeerSideInterface } from './peer-side-protocol.ts'

const KEY = 'ab'.repeat(20) as RendezvousKey
const PEER = { host: '127.0.0.1', port: 4001 }
const HELD = { digest: digestOf('a'), size: 1, state: 'complete' } as const

/** What a stand-in for the process was asked, and how it ends. */
class StandIn implements PeerSideProcess {
  readonly pid = undefined
  readonly #pair = linkedPair()
  readonly asked: [name: string, argument: unknown][] = []
  readonly node: NodeCalls
  failsToOpen: Error | undefined
  /** calls that are never answered */
  silent = new Set<string>()

  constructor() {
    const handlers = new Proxy({} as RemoteHandlers<PeerSideInterface>, {
      get: (_, kind: string) =>
        new Proxy(
          {},
          {
            getOwnPropertyDescriptor: () => ({ configurable: true, enumerable: true }),
            get: (__, name: string) => (argument: unknown) => this.#on(kind, name, argument),
          },
        ),
    })
    this.node = new RemoteCalls<NodeInterface, PeerSideInterface>(
      this.#pair[1],
      handlers,
      () => new Error('gone'),
    )
  }

  get link() {
    return this.#pair[0]
  }

  /** As a crash would. */
  crash(): void {
    this.#pair[Symbol.dispose]()
  }

  async stop(): Promise<void> {
    this.crash()
  }

  argumentsOf(name: string): unknown[] {
    return this.asked.filter(([asked]) => asked === name).map(([, argument]) => argument)
  }

  #on(kind: string, name: string, argument: unknown): unknown {
    this.asked.push([name, argument])
    if (kind === 'notes') return undefined
    if (this.silent.has(name)) return new Promise(() => {})
    if (name === 'open') {
      if (this.failsToOpen) throw this.failsToOpen
      return { peerPort: 4242 }
    }
    return name === 'have' ? [HELD] : undefined
  }
}

async function openSide(
  prepare: (process: StandIn, count: number) => void = () => {},
  { hungMs = 10_000 } = {},
) {
  const processes: StandIn[] = []
  const swarmKeys = new SwarmKeys(testSwarmKey('a'))
  const side = await PeerSide.open({
    settings: {
      isPublic: false,
      nodeKey: makeNodeIdentity().exportKey(),
      discovery: [],
      host: '127.0.0.1',
      port: 0,
      stateDir: '/nowhere',
      logLevel: 'silent',
      uploadBytesPerSecond: undefined,
      downloadBytesPerSecond: undefined,
    },
    swarmKeys,
    launch: () => {
      const process = new StandIn()
      processes.push(process)
      prepare(process, processes.length)
      return process
    },
    answers: { calls: {}, streams: {} } as unknown as NodeAnswers,
    log: silentLog,
    hungMs,
  })
  const last = () => processes.at(-1) as StandIn
  /** until what was sent so far has been read */
  const settle = () => side.questions.have(PEER, [])
  return { side, processes, last, settle, swarmKeys }
}

test('one that ends is started again, on its port, and told what the one before knew', async () => {
  const { side, processes, last, settle } = await openSide()
  await using _ = side
  side.discovery.announce(KEY)
  side.discovery.announce('cd'.repeat(20) as RendezvousKey)
  side.discovery.withdraw('cd'.repeat(20) as RendezvousKey)
  side.ban('a'.repeat(64), Date.now() + 60_000)
  await settle()
  last().crash()
  await settle()
  assert.equal(processes.length, 2)
  const [settings] = last().argumentsOf('open') as { port: number }[]
  assert.equal(settings?.port, 4242)
  assert.deepEqual(last().argumentsOf('announce'), [KEY])
  assert.equal(last().argumentsOf('ban').length, 1)
})

test('a question that was under way when it ended is asked again, and not for ever', async () => {
  const { side, processes, last } = await openSide((process, count) => {
    if (count === 1) process.silent.add('have')
  })
  await using _ = side
  const asking = side.questions.have(PEER, [HELD.digest])
  await Promise.resolve()
  last().crash()
  assert.deepEqual(await asking, [HELD])
  assert.equal(processes.length, 2)
})

test('the keys of the swarm are told when they change, and to the next one as they are', async () => {
  const { side, last, settle, swarmKeys } = await openSide()
  await using _ = side
  const next = testSwarmKey('b')
  swarmKeys.set({ ...swarmKeys.state, current: next, accepted: [next, ...swarmKeys.accepted] })
  await settle()
  const told = last().argumentsOf('swarmKeys') as { current: Buffer }[]
  assert.deepEqual(told.at(-1)?.current, next)
  last().crash()
  await settle()
  const [settings] = last().argumentsOf('open') as { swarmKeys: { current: Buffer } }[]
  assert.deepEqual(settings?.swarmKeys.current, next)
})

test('one that cannot open says why, and is not tried again', async () => {
  const taken = new OperationError('PORT_IN_USE', 'port 4242 is taken')
  let count = 0
  const opening = openSide((process) => {
    count += 1
    process.failsToOpen = taken
  })
  await assert.rejects(opening, { code: 'PORT_IN_USE', message: taken.message })
  assert.equal(count, 1)
})

test('one that does not open again at once is tried until it does', async () => {
  const { side, processes, last, settle } = await openSide((process, count) => {
    if (count === 2) process.failsToOpen = new Error('not now')
  })
  await using _ = side
  last().crash()
  await settle()
  assert.equal(processes.length, 3)
})

test('one that lives and says nothing any more is ended, and started again', async () => {
  const { side, processes, settle } = await openSide(
    (process, count) => {
      if (count === 1) process.silent.add('stats').add('have')
    },
    { hungMs: 30 },
  )
  await using _ = side
  await settle()
  assert.equal(processes.length, 2)
})

test('a download goes on in the next one, with the pieces that are here and the peers that were dialed', async () => {
  await using dir = await tempDir()
  const { side, last, settle } = await openSide()
  await using _ = side
  await using store = await DiskBlobStore.open({ dataDir: dir.path })
  const bytes = Buffer.alloc(3000, 7)
  const digest: Digest = digestOf(bytes)
  const shape = { digest, size: 3000, pieceLength: 1000 }
  await using partial = await store.openPartial(shape)
  const record: TorrentRecord = { ...shape, infoHash: 'ef'.repeat(20), pieces: Buffer.alloc(60) }
  const download = await side.download({ record, partial })
  download.dial(PEER)
  await partial.writePiece(0, bytes.subarray(0, 1000))
  download.onForeignPiece(0)
  assert.equal(download.missingPieces, 2)
  await settle()
  assert.deepEqual(last().argumentsOf('foreignPiece'), [{ id: download.id, index: 0 }])

  last().crash()
  await settle()
  const [order] = last().argumentsOf('download') as { id: number; path: string; bitfield: Buffer }[]
  assert.deepEqual([order?.id, order?.path], [download.id, partial.path])
  assert.equal(order?.bitfield[0], 0b1000_0000)
  await settle()
  assert.deepEqual(last().argumentsOf('dial'), [{ id: download.id, endpoint: PEER }])

  const pieces: number[] = []
  download.on('piece', (index) => pieces.push(index))
  const complete = once(download, 'complete')
  for (const index of [1, 1, 99, 2]) last().node.note('piece', { id: download.id, index })
  await complete
  assert.deepEqual([pieces, download.isComplete], [[1, 2], true])
})

test('a failure of a download is told, and what comes after its end is not', async () => {
  await using dir = await tempDir()
  const { side, last, settle } = await openSide()
  await using _ = side
  await using store = await DiskBlobStore.open({ dataDir: dir.path })
  const shape = { digest: digestOf('x'), size: 2000, pieceLength: 1000 }
  await using partial = await store.openPartial(shape)
  const record: TorrentRecord = { ...shape, infoHash: 'ef'.repeat(20), pieces: Buffer.alloc(40) }
  const download = await side.download({ record, partial })
  const failed = once(download, 'failed')
  last().node.note('failed', { id: download.id, code: 'DISK_FULL', message: 'no room' })
  assert.equal(((await failed)[0] as OperationError).code, 'DISK_FULL')
  await download.close({ isKept: false })
  last().node.note('piece', { id: download.id, index: 0 })
  await settle()
  assert.equal(partial.hasPiece(0), false)
  assert.deepEqual(last().argumentsOf('closeDownload'), [{ id: download.id, isKept: false }])
})
