import { EventEmitter } from 'node:events'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import type { PeerAddress, Rendezvous } from '../discovery/discovery.ts'
import { ERROR_CODES, isOperationError, messageOf, OperationError } from '../errors.ts'
import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { TicketBook } from '../membership/ticket-book.ts'
import type { PartialBlob } from '../store/blob-store.ts'
import { ownMemoryOf } from '../support/process-memory.ts'
import type { RemoteHandlers } from '../support/remote-calls.ts'
import { relayLine, type Log } from '../telemetry/log.ts'
import { KeptProcess } from './kept-process.ts'
import type { PeerSideProcess } from './peer-side-process.ts'
import type {
  NodeInterface,
  PeerSideCalls,
  PeerSideSettings,
  PeerSideStats,
  Traffic,
} from './peer-side-protocol.ts'
import { questionsOver, type PeerQuestions } from './peer-questions.ts'
import { RemoteDownload } from './remote-download.ts'

/** What the node answers to its peers, and what it gives them. */
export type NodeAnswers = Pick<RemoteHandlers<NodeInterface>, 'calls' | 'streams'>

interface PeerSideOptions {
  readonly settings: Omit<PeerSideSettings, 'swarmKeys'>
  readonly swarmKeys: SwarmKeys
  /** starts what does the work: a process, as a rule */
  readonly launch: () => PeerSideProcess
  readonly answers: NodeAnswers
  /** undefined where nobody is invited */
  readonly tickets?: TicketBook | undefined
  readonly log: Log
  /** how long it may say nothing before it is ended, ms */
  readonly hungMs?: number
}

interface PeerSideEvents {
  received: [Traffic]
  sent: [Traffic]
  /** a node of the swarm makes itself heard on the LAN, and was not heard lately */
  heard: [PeerAddress]
  /** somebody says that the swarm has a newer key than this node */
  outdated: [PeerAddress]
}

const STATS_MS = 1000
const DROP_MS = 5000

/**
 * The side of a node that talks to peers, as the rest of the node sees it. It runs in a process of its own, which knows
 * no registry and no engine; when that ends, another one is started at once, is told what the first one knew, and goes
 * on. What was asked of it meanwhile waits for that.
 */
export class PeerSide extends EventEmitter<PeerSideEvents> implements AsyncDisposable {
  readonly discovery: Rendezvous
  readonly questions: PeerQuestions
  readonly #options: PeerSideOptions
  readonly #announced = new Set<RendezvousKey>()
  readonly #bans = new Map<string, number>()
  readonly #downloads = new Map<number, RemoteDownload>()
  readonly #process: KeptProcess
  #peerPort: number
  #uploadLimit: number | undefined
  #lastId = 0
  #stats: PeerSideStats = { dhtNodes: 0, announcedKeys: 0, refusedDatagrams: 0, memoryBytes: 0 }

  private constructor(options: PeerSideOptions) {
    super()
    this.#options = options
    this.#peerPort = options.settings.port
    this.#uploadLimit = options.settings.uploadBytesPerSecond
    this.#process = new KeptProcess({
      ...options,
      handlers: this.#handlers(),
      open: (calls, start) => this.#open(calls, start),
      onOpen: (calls) => this.#tellAll(calls),
    })
    this.discovery = {
      announce: (key) => {
        this.#announced.add(key)
        this.#process.calls?.note('announce', key)
      },
      withdraw: (key) => {
        this.#announced.delete(key)
        this.#process.calls?.note('withdraw', key)
      },
      findPeers: (key, find) => this.#findPeers(key, find),
    }
    this.questions = questionsOver((work, ask) => this.#process.ask(work, ask))
    options.tickets?.on('change', this.#tellTickets)
    options.swarmKeys.on('change', this.#tellKeys)
  }

  /** @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE … */
  static async open(options: PeerSideOptions): Promise<PeerSide> {
    const side = new PeerSide(options)
    try {
      await side.#process.opened()
      return side
    } catch (error) {
      await side[Symbol.asyncDispose]()
      throw error
    }
  }

  get peerPort(): number {
    return this.#peerPort
  }

  /** How it fares, or fared when it answered last. What went over connections until now was emitted before. */
  async stats(): Promise<PeerSideStats> {
    try {
      const signal = AbortSignal.timeout(STATS_MS)
      const stats = await this.#process.ask((calls) => calls.call('stats', undefined, { signal }), {
        signal,
      })
      const { pid } = this
      const memoryBytes = pid === undefined ? 0 : ((await ownMemoryOf(pid)) ?? stats.memoryBytes)
      this.#stats = { ...stats, memoryBytes }
    } catch (error) {
      this.#options.log.debug(
        { error: messageOf(error) },
        'the peer side does not say how it fares',
      )
    }
    return this.#stats
  }

  /** The process, for who wants to see it end; undefined where it is this one. */
  get pid(): number | undefined {
    return this.#process.pid
  }

  /**
   * Fetches a blob piece by piece into `partial`, giving on meanwhile what is there.
   * @throws OperationError DISK_…; the system's error
   */
  async download(options: {
    record: TorrentRecord
    partial: PartialBlob
  }): Promise<RemoteDownload> {
    this.#lastId += 1
    const download = new RemoteDownload(this.#lastId, {
      ...options,
      orders: {
        // Where there is nobody to do it, the next one is told of all downloads as it opens.
        download: (order) => this.#process.now((calls) => calls.call('download', order)),
        close: (end) => this.#closeDownload(end),
        dial: (to) => this.#process.calls?.note('dial', to),
        foreignPiece: (piece) => this.#process.calls?.note('foreignPiece', piece),
      },
    })
    this.#downloads.set(download.id, download)
    try {
      await download.start()
      return download
    } catch (error) {
      this.#downloads.delete(download.id)
      throw error
    }
  }

  /** Cuts a peer off and takes it no more until then, by node id or by `host:port`. */
  ban(peer: string, untilMs: number): void {
    const nowMs = Date.now()
    for (const [each, endMs] of this.#bans) if (endMs <= nowMs) this.#bans.delete(each)
    this.#bans.set(peer, untilMs)
    this.#process.calls?.note('ban', { peer, untilMs })
  }

  /** Ends connections that were proven with one of these keys, but those with these nodes. */
  endOldConnections(ended: { keys: readonly SwarmKey[]; but: readonly string[] }): void {
    this.#process.calls?.note('endOldConnections', ended)
  }

  /** What peers may take together from now on. */
  limitUploads(bytesPerSecond: number): void {
    this.#uploadLimit = bytesPerSecond
    this.#process.calls?.note('uploadLimit', bytesPerSecond)
  }

  /** Cuts off who is fetching the blob behind an infohash. */
  async drop(infoHash: string): Promise<void> {
    const signal = AbortSignal.timeout(DROP_MS)
    await this.#process.now((calls) => calls.call('drop', infoHash, { signal }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.tickets?.off('change', this.#tellTickets)
    this.#options.swarmKeys.off('change', this.#tellKeys)
    await this.#process[Symbol.asyncDispose]()
    this.removeAllListeners()
  }

  async #open(calls: PeerSideCalls, { signal }: { signal: AbortSignal }): Promise<void> {
    const { settings, swarmKeys } = this.#options
    const { peerPort } = await calls.call(
      'open',
      {
        ...settings,
        swarmKeys: swarmKeys.state,
        port: this.#peerPort,
        uploadBytesPerSecond: this.#uploadLimit,
      },
      { signal },
    )
    this.#peerPort = peerPort
  }

  /** What changed while it opened, and what the one before knew. */
  #tellAll(calls: PeerSideCalls): void {
    this.#tellKeys()
    this.#tellTickets()
    for (const [peer, untilMs] of this.#bans) calls.note('ban', { peer, untilMs })
    for (const key of this.#announced) calls.note('announce', key)
    for (const download of this.#downloads.values()) void this.#resume(download)
  }

  async #resume(download: RemoteDownload): Promise<void> {
    try {
      await download.start()
    } catch (error) {
      download.onFailed(error)
    }
  }

  async #closeDownload(end: { id: number; isKept: boolean }): Promise<void> {
    this.#downloads.delete(end.id)
    // where the process has ended, nothing is written any more
    await this.#process.now((calls) => calls.call('closeDownload', end))
  }

  async *#findPeers(
    key: RendezvousKey,
    { signal, limit }: { signal?: AbortSignal; limit?: number } = {},
  ): AsyncGenerator<PeerAddress> {
    const { calls } = this.#process
    if (!calls || signal?.aborted === true) return
    const question = { key, ...(limit !== undefined && { limit }) }
    try {
      yield* calls.stream('findPeers', question, { signal })
    } catch (error) {
      if (!isStopped(signal) && !isOperationError(error, 'PEER_SIDE_LOST')) throw error
    }
  }

  readonly #tellTickets = (): void => {
    const { tickets } = this.#options
    if (tickets) this.#process.calls?.note('tickets', tickets.keys)
  }

  readonly #tellKeys = (): void => {
    this.#process.calls?.note('swarmKeys', this.#options.swarmKeys.state)
  }

  #handlers(): RemoteHandlers<NodeInterface> {
    const { answers, log } = this.#options
    const download = (id: number) => this.#downloads.get(id)
    return {
      ...answers,
      notes: {
        piece: ({ id, index }) => download(id)?.onPiece(index),
        badPiece: ({ id, index, culprit }) => download(id)?.emit('badPiece', culprit, index),
        refused: ({ id, culprit }) => download(id)?.emit('refused', culprit),
        failed: ({ id, ...failure }) => download(id)?.onFailed(errorOf(failure)),
        connected: ({ id, ...peers }) => {
          const known = download(id)
          if (known) known.peers = peers
        },
        traffic: (sums) => {
          for (const sum of sums) this.emit(sum.direction === 'sent' ? 'sent' : 'received', sum)
        },
        heard: (address) => this.emit('heard', address),
        outdated: (address) => this.emit('outdated', address),
        log: (line) => relayLine(log, line),
      },
    }
  }
}

function isStopped(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true
}

function errorOf({ code, message }: { code: string | undefined; message: string }): Error {
  const known = ERROR_CODES.find((each) => each === code)
  return known ? new OperationError(known, message) : new Error(message)
}
