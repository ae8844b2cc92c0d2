import { EventEmitter } from 'node:events'

import type { TorrentRecord } from '../catalog/torrent-records.ts'
import type { PeerAddress, Rendezvous } from '../discovery/discovery.ts'
import { ERROR_CODES, isOperationError, messageOf, OperationError } from '../errors.ts'
import type { RendezvousKey } from '../membership/rendezvous-key.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { TicketBook } from '../membership/ticket-book.ts'
import type { PartialBlob } from '../store/blob-store.ts'
import { abortable, deadline } from '../support/deadline.ts'
import { pause } from '../support/pause.ts'
import { ownMemoryOf } from '../support/process-memory.ts'
import { RemoteCalls, type RemoteHandlers } from '../support/remote-calls.ts'
import { relayLine, type Log } from '../telemetry/log.ts'
import type { PeerSideProcess } from './peer-side-process.ts'
import type {
  DownloadOrder,
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

const START_MS = 20_000
const CLOSE_MS = 5000
// A call waits so long for a peer side that is being started again.
const RESTART_MS = 5000
const MAX_ATTEMPTS = 3
const STATS_MS = 1000
const WATCH_EVERY_MS = 2000
// Not a busy machine any more: what strangers sent keeps it busy, and nothing else is done.
const HUNG_MS = 10_000
// The first restart is immediate; one that ends at once again is not tried forever without a pause.
const SOUND_AFTER_MS = 10_000
const MAX_PAUSE_MS = 5000

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
  readonly #closing = new AbortController()
  #process: PeerSideProcess | undefined
  #calls: Promise<PeerSideCalls>
  /** those of the process that is open now; undefined while there is none */
  #open: PeerSideCalls | undefined
  #peerPort: number
  #uploadLimit: number | undefined
  #lastId = 0
  #stats: PeerSideStats = { dhtNodes: 0, announcedKeys: 0, refusedDatagrams: 0, memoryBytes: 0 }

  private constructor(options: PeerSideOptions) {
    super()
    this.#options = options
    this.#peerPort = options.settings.port
    this.#uploadLimit = options.settings.uploadBytesPerSecond
    this.#calls = this.#start()
    this.discovery = {
      announce: (key) => {
        this.#announced.add(key)
        this.#open?.note('announce', key)
      },
      withdraw: (key) => {
        this.#announced.delete(key)
        this.#open?.note('withdraw', key)
      },
      findPeers: (key, find) => this.#findPeers(key, find),
    }
    this.questions = questionsOver((work, ask) => this.#ask(work, ask))
    options.tickets?.on('change', () => this.#tellTickets())
    options.swarmKeys.on('change', () => this.#open?.note('swarmKeys', options.swarmKeys.state))
  }

  /** @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE … */
  static async open(options: PeerSideOptions): Promise<PeerSide> {
    const side = new PeerSide(options)
    try {
      await side.#calls
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
      const stats = await this.#ask((calls) => calls.call('stats', undefined, { signal }), {
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
    return this.#process?.pid
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
        download: (order) => this.#orderDownload(order),
        close: (end) => this.#closeDownload(end),
        dial: (to) => this.#open?.note('dial', to),
        foreignPiece: (piece) => this.#open?.note('foreignPiece', piece),
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
    this.#open?.note('ban', { peer, untilMs })
  }

  /** Ends connections that were proven with one of these keys, but those with these nodes. */
  endOldConnections(ended: { keys: readonly SwarmKey[]; but: readonly string[] }): void {
    this.#open?.note('endOldConnections', ended)
  }

  /** What peers may take together from now on. */
  limitUploads(bytesPerSecond: number): void {
    this.#uploadLimit = bytesPerSecond
    this.#open?.note('uploadLimit', bytesPerSecond)
  }

  /** Cuts off who is fetching the blob behind an infohash. */
  async drop(infoHash: string): Promise<void> {
    try {
      await this.#open?.call('drop', infoHash, { signal: AbortSignal.timeout(RESTART_MS) })
    } catch (error) {
      // a process that has ended gives nothing
      if (!isOperationError(error, 'PEER_SIDE_LOST')) throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort(new OperationError('INTERRUPTED', 'the node is stopping'))
    try {
      await this.#open?.call('close', undefined, { signal: AbortSignal.timeout(CLOSE_MS) })
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'the peer side did not end in order')
    }
    await this.#process?.stop()
    this.removeAllListeners()
  }

  /** @throws OperationError as the process has it, PEER_SIDE_LOST */
  async #start(): Promise<PeerSideCalls> {
    const { settings, swarmKeys, launch } = this.#options
    const process = launch()
    this.#process = process
    const calls: PeerSideCalls = new RemoteCalls(process.link, this.#handlers(), () =>
      this.#onLost(process),
    )
    const { peerPort } = await calls.call(
      'open',
      {
        ...settings,
        swarmKeys: swarmKeys.state,
        port: this.#peerPort,
        uploadBytesPerSecond: this.#uploadLimit,
      },
      { signal: deadline(START_MS, this.#closing.signal) },
    )
    this.#peerPort = peerPort
    this.#open = calls
    // what changed while it opened
    calls.note('swarmKeys', swarmKeys.state)
    this.#tellTickets()
    for (const [peer, untilMs] of this.#bans) calls.note('ban', { peer, untilMs })
    for (const key of this.#announced) calls.note('announce', key)
    for (const download of this.#downloads.values()) void this.#resume(download)
    void this.#watch(process, calls)
    return calls
  }

  /** @returns what calls that are under way fail with */
  #onLost(process: PeerSideProcess): OperationError {
    const wasOpen = this.#open !== undefined
    if (this.#process === process) this.#open = undefined
    if (wasOpen && !this.#closing.signal.aborted) {
      this.#calls = this.#startAgain()
      // who waits for it is told; nobody need be waiting
      this.#calls.catch(() => {})
    }
    return new OperationError('PEER_SIDE_LOST', 'the process that talks to peers has ended')
  }

  async #startAgain(): Promise<PeerSideCalls> {
    const { log } = this.#options
    const lostAtMs = performance.now()
    for (let pauseMs = this.#firstPause(); ; pauseMs = Math.min(2 * pauseMs + 100, MAX_PAUSE_MS)) {
      await pause(pauseMs, this.#closing.signal)
      this.#closing.signal.throwIfAborted()
      try {
        const calls = await this.#start()
        const ms = Math.round(performance.now() - lostAtMs)
        log.warn({ ms }, 'the process that talks to peers had ended and was started again')
        return calls
      } catch (error) {
        await this.#process?.stop()
        log.error({ error: messageOf(error) }, 'the process that talks to peers does not start')
      }
    }
  }

  #startedAtMs = performance.now()

  #firstPause(): number {
    const livedMs = performance.now() - this.#startedAtMs
    this.#startedAtMs = performance.now()
    return livedMs > SOUND_AFTER_MS ? 0 : 50
  }

  /** Ends a process that lives and does nothing any more. */
  async #watch(process: PeerSideProcess, calls: PeerSideCalls): Promise<void> {
    const { hungMs = HUNG_MS, log } = this.#options
    while (this.#open === calls && !this.#closing.signal.aborted) {
      const again = pause(Math.min(WATCH_EVERY_MS, hungMs), this.#closing.signal)
      try {
        await calls.call('stats', undefined, { signal: deadline(hungMs, this.#closing.signal) })
      } catch {
        if (this.#open !== calls || this.#closing.signal.aborted) return
        log.error(
          { ms: hungMs },
          'the process that talks to peers does nothing any more, and is ended',
        )
        await process.stop()
        return
      }
      await again
    }
  }

  async #resume(download: RemoteDownload): Promise<void> {
    try {
      await download.start()
    } catch (error) {
      download.onFailed(error)
    }
  }

  /** Where there is nobody to do it, the next one is told of all downloads as it opens. */
  async #orderDownload(order: DownloadOrder): Promise<void> {
    try {
      await this.#open?.call('download', order)
    } catch (error) {
      if (!isOperationError(error, 'PEER_SIDE_LOST')) throw error
    }
  }

  async #closeDownload(end: { id: number; isKept: boolean }): Promise<void> {
    this.#downloads.delete(end.id)
    try {
      await this.#open?.call('closeDownload', end)
    } catch (error) {
      // where the process has ended, nothing is written any more
      if (!isOperationError(error, 'PEER_SIDE_LOST')) throw error
    }
  }

  /** Does work that may be done twice, again where the peer side ends in the middle. */
  async #ask<Result>(
    work: (calls: PeerSideCalls) => Promise<Result>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<Result> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const calls = this.#open ?? (await abortable(this.#calls, deadline(RESTART_MS, signal)))
        return await work(calls)
      } catch (error) {
        signal?.throwIfAborted()
        if (!isOperationError(error, 'PEER_SIDE_LOST')) throw error
        if (attempt === MAX_ATTEMPTS) throw error
      }
    }
  }

  async *#findPeers(
    key: RendezvousKey,
    { signal, limit }: { signal?: AbortSignal; limit?: number } = {},
  ): AsyncGenerator<PeerAddress> {
    const calls = this.#open
    if (!calls || signal?.aborted === true) return
    const question = { key, ...(limit !== undefined && { limit }) }
    try {
      yield* calls.stream('findPeers', question, { signal })
    } catch (error) {
      if (!isStopped(signal) && !isOperationError(error, 'PEER_SIDE_LOST')) throw error
    }
  }

  #tellTickets(): void {
    const { tickets } = this.#options
    if (tickets) this.#open?.note('tickets', tickets.keys)
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
