import { isOperationError, messageOf, OperationError } from '../errors.ts'
import { abortable, deadline } from '../support/deadline.ts'
import { pause } from '../support/pause.ts'
import { RemoteCalls, type RemoteHandlers } from '../support/remote-calls.ts'
import type { Log } from '../telemetry/log.ts'
import type { PeerSideProcess } from './peer-side-process.ts'
import type { NodeInterface, PeerSideCalls } from './peer-side-protocol.ts'

interface KeptProcessOptions {
  /** starts one */
  readonly launch: () => PeerSideProcess
  /** what it may ask of the node */
  readonly handlers: RemoteHandlers<NodeInterface>
  /** has one that has just been started open */
  readonly open: (calls: PeerSideCalls, options: { signal: AbortSignal }) => Promise<void>
  /** tells one that is open what the one before knew */
  readonly onOpen: (calls: PeerSideCalls) => void
  readonly log: Log
  /** how long it may say nothing before it is ended, ms */
  readonly hungMs?: number | undefined
}

const START_MS = 20_000
const CLOSE_MS = 5000
// A call waits so long for one that is being started again.
const RESTART_MS = 5000
const MAX_ATTEMPTS = 3
const WATCH_EVERY_MS = 2000
// Not a busy machine any more: what strangers sent keeps it busy, and nothing else is done.
const HUNG_MS = 10_000
// The first restart is immediate; one that ends at once again is not tried forever without a pause.
const SOUND_AFTER_MS = 10_000
const SHORT_PAUSE_MS = 50
const MAX_PAUSE_MS = 5000

/**
 * A process that is there again when it ends, whatever ended it, and that is ended when it does nothing any more. What
 * was asked of it meanwhile waits for the next one.
 */
export class KeptProcess implements AsyncDisposable {
  readonly #options: KeptProcessOptions
  readonly #closing = new AbortController()
  #process: PeerSideProcess | undefined
  #starting: Promise<PeerSideCalls>
  #open: PeerSideCalls | undefined
  #startedAtMs = performance.now()

  constructor(options: KeptProcessOptions) {
    this.#options = options
    this.#starting = this.#start()
  }

  /** Waits for the first one. @throws OperationError as it has it, PEER_SIDE_LOST */
  async opened(): Promise<void> {
    await this.#starting
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** The one that is open now; undefined while there is none. */
  get calls(): PeerSideCalls | undefined {
    return this.#open
  }

  /**
   * Does work that may be done twice, again where the process ends in the middle.
   * @throws what `work` throws; OperationError PEER_SIDE_LOST; the reason of `signal`
   */
  async ask<Result>(
    work: (calls: PeerSideCalls) => Promise<Result>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<Result> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const calls = this.#open ?? (await abortable(this.#starting, deadline(RESTART_MS, signal)))
        return await work(calls)
      } catch (error) {
        signal?.throwIfAborted()
        if (!isOperationError(error, 'PEER_SIDE_LOST')) throw error
        if (attempt === MAX_ATTEMPTS) throw error
      }
    }
  }

  /** Does work that is for the one that is open now, and for no other. @throws what `work` throws */
  async now(work: (calls: PeerSideCalls) => Promise<void>): Promise<void> {
    const calls = this.#open
    if (!calls) return
    try {
      await work(calls)
    } catch (error) {
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
  }

  async #start(): Promise<PeerSideCalls> {
    const { launch, handlers, open, onOpen } = this.#options
    this.#startedAtMs = performance.now()
    const process = launch()
    this.#process = process
    const calls: PeerSideCalls = new RemoteCalls(process.link, handlers, () =>
      this.#onLost(process),
    )
    await open(calls, { signal: deadline(START_MS, this.#closing.signal) })
    this.#open = calls
    onOpen(calls)
    void this.#watch(process, calls)
    return calls
  }

  /** @returns what calls that are under way fail with */
  #onLost(process: PeerSideProcess): OperationError {
    const wasOpen = this.#open !== undefined
    if (this.#process === process) this.#open = undefined
    if (wasOpen && !this.#closing.signal.aborted) {
      this.#starting = this.#startAgain()
      // who waits for it is told; nobody need be waiting
      this.#starting.catch(() => {})
    }
    return new OperationError('PEER_SIDE_LOST', 'the process that talks to peers has ended')
  }

  async #startAgain(): Promise<PeerSideCalls> {
    const { log } = this.#options
    const lostAtMs = performance.now()
    const isSound = lostAtMs - this.#startedAtMs > SOUND_AFTER_MS
    for (let pauseMs = isSound ? 0 : SHORT_PAUSE_MS; ; pauseMs = nextPause(pauseMs)) {
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

  /** Ends a process that lives and does nothing any more. */
  async #watch(process: PeerSideProcess, calls: PeerSideCalls): Promise<void> {
    const { hungMs = HUNG_MS, log } = this.#options
    const { signal } = this.#closing
    while (this.#open === calls && !signal.aborted) {
      const again = pause(Math.min(WATCH_EVERY_MS, hungMs), signal)
      try {
        await calls.call('stats', undefined, { signal: deadline(hungMs, signal) })
      } catch {
        if (this.#open !== calls || signal.aborted) return
        const message = 'the process that talks to peers does nothing any more, and is ended'
        log.error({ ms: hungMs }, message)
        await process.stop()
        return
      }
      await again
    }
  }
}

function nextPause(pauseMs: number): number {
  return Math.min(2 * pauseMs + 100, MAX_PAUSE_MS)
}
