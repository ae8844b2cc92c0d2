import { isOperationError, messageOf } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { abortable } from '../support/deadline.ts'
import type { Log } from '../telemetry/log.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import type { UpstreamRoute } from './upstream-route.ts'

/** Swarm and upstream as a race sees them: each fills until the blob is whole, or throws. */
export interface RaceParts {
  readonly transfer: BlobTransfer
  readonly siblings: readonly Digest[]
  readonly signal: AbortSignal
  readonly log: Log
  /** whether there is anybody in the swarm to wait for */
  readonly hasPeers: boolean
  readonly swarm: (options: {
    signal: AbortSignal
    onFound: () => void
    onAbsent: () => void
  }) => Promise<void>
  /** undefined where registries are not asked */
  readonly upstream?:
    ((route: UpstreamRoute, options: { signal: AbortSignal }) => Promise<void>) | undefined
}

// How long upstream is kept back while members of the swarm say whether they have it.
const HEAD_START_MS = 250
const WATCH_INTERVAL_MS = 100
// Peers that have it and bring nothing for so long, or less than so much, get help.
const STALL_MS = 1000
const SLOW_AFTER_MS = 3000
const SLOW_BYTES_PER_SECOND = 128 * 1024
// A small rest is not worth stopping upstream for.
const SMALL_REST_BYTES = 4 * 1024 * 1024

/**
 * One blob from swarm and upstream. What peers have is not asked of upstream, but nobody waits for peers either:
 *
 *   no member known ──────────────▶ upstream at once, the search goes on beside it
 *   members known ── "I have it" ─▶ swarm; upstream joins in when nothing or little comes
 *                 ── "no", or 250 ms without an answer ─▶ upstream; it stops when peers deliver after all
 *
 * It ends when the blob is whole, or when both have failed.
 */
export class BlobRace {
  readonly #parts: RaceParts
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  readonly #failed = Promise.withResolvers<never>()
  readonly #filled = Promise.withResolvers<void>()
  readonly #startedAtMs = performance.now()
  #isFound = false
  #swarmFailure: unknown
  #upstreamFailure: unknown
  readonly #failedRoutes = new Set<UpstreamRoute>()
  #upstreamRun: { stop: AbortController; peerBytes: number; isHedge: boolean } | undefined
  #sample = { atMs: performance.now(), bytes: 0 }

  constructor(parts: RaceParts) {
    this.#parts = parts
    this.#signal = AbortSignal.any([parts.signal, this.#stop.signal])
    this.#failed.promise.catch(() => undefined)
  }

  /** @param complete resolves when the blob is whole, whoever brought the last byte */
  async run(complete: Promise<void>): Promise<void> {
    const watch = setInterval(() => this.#look(), WATCH_INTERVAL_MS)
    this.#startSwarm()
    if (!this.#parts.hasPeers) this.#startUpstream({ isHedge: false })
    const headStart = setTimeout(() => this.#startInstead(), HEAD_START_MS)
    try {
      const end = Promise.race([complete, this.#filled.promise, this.#failed.promise])
      await abortable(end, this.#parts.signal)
    } finally {
      clearInterval(watch)
      clearTimeout(headStart)
      this.#stop.abort()
    }
  }

  #startSwarm(): void {
    const onFound = () => {
      this.#isFound = true
      this.#parts.transfer.onWait('peers', performance.now() - this.#startedAtMs)
      this.#sample = { atMs: performance.now(), bytes: 0 }
    }
    const onAbsent = () => this.#startInstead()
    this.#parts.swarm({ signal: this.#signal, onFound, onAbsent }).then(
      () => this.#filled.resolve(),
      (error: unknown) => this.#onSwarmFailed(error),
    )
  }

  /** Nobody has said that it is there; who says so later takes over from upstream. */
  #startInstead(): void {
    if (!this.#isFound) this.#startUpstream({ isHedge: true })
  }

  #onSwarmFailed(error: unknown): void {
    if (this.#signal.aborted) return
    this.#swarmFailure = error
    this.#startUpstream({ isHedge: false })
    if (!this.#upstreamRun) this.#fail()
  }

  #startUpstream({ isHedge }: { isHedge: boolean }): void {
    const { transfer, upstream } = this.#parts
    const route = transfer.routes.find((one) => !this.#failedRoutes.has(one))
    if (!upstream || !route || this.#upstreamRun) return
    if (this.#signal.aborted) return
    const run = { stop: new AbortController(), peerBytes: transfer.peerBytes, isHedge }
    this.#upstreamRun = run
    upstream(route, { signal: AbortSignal.any([this.#signal, run.stop.signal]) }).then(
      () => this.#filled.resolve(),
      (error: unknown) => this.#onUpstreamFailed(error, { route, stop: run.stop.signal }),
    )
  }

  #onUpstreamFailed(
    error: unknown,
    { route, stop }: { route: UpstreamRoute; stop: AbortSignal },
  ): void {
    this.#upstreamRun = undefined
    if (this.#signal.aborted || stop.aborted) return
    this.#failedRoutes.add(route)
    this.#upstreamFailure = error
    // Another client may know another way, or have another right.
    this.#startUpstream({ isHedge: false })
    if (this.#upstreamRun) return
    if (this.#swarmFailure !== undefined) this.#fail()
    else if (!isOperationError(error, 'BLOB_UNKNOWN')) {
      const { digest } = this.#parts.transfer
      this.#parts.log.info({ digest, error: messageOf(error) }, 'upstream does not bring a blob')
    }
  }

  /** The failure that tells most. */
  #fail(): void {
    const failures = [this.#upstreamFailure, this.#swarmFailure].filter((one) => one !== undefined)
    const telling = failures.find((failure) => !isOperationError(failure, 'BLOB_UNKNOWN'))
    this.#failed.reject(telling ?? failures[0])
  }

  #look(): void {
    const { transfer } = this.#parts
    if (this.#upstreamRun) {
      if (this.#isSwarmAhead(this.#upstreamRun)) this.#upstreamRun.stop.abort()
      return
    }
    if (this.#swarmFailure !== undefined) {
      this.#startUpstream({ isHedge: false })
    } else if (this.#isFound && (this.#isStalled() || this.#isSlow(transfer.peerBytes))) {
      this.#startUpstream({ isHedge: false })
    }
  }

  /** Peers deliver although upstream was started in their stead. */
  #isSwarmAhead({ isHedge, peerBytes }: { isHedge: boolean; peerBytes: number }): boolean {
    const { transfer } = this.#parts
    return (
      isHedge &&
      transfer.peerBytes > peerBytes &&
      transfer.missingBytes > SMALL_REST_BYTES &&
      this.#swarmFailure === undefined
    )
  }

  #isStalled(): boolean {
    const sinceMs = Math.max(this.#sample.atMs, this.#startedAtMs)
    const { lastProgressAtMs } = this.#parts.transfer
    const silentMs = Date.now() - lastProgressAtMs
    return silentMs > STALL_MS && performance.now() - sinceMs > STALL_MS
  }

  #isSlow(bytes: number): boolean {
    const nowMs = performance.now()
    const { atMs, bytes: before } = this.#sample
    if (nowMs - atMs < SLOW_AFTER_MS) return false
    this.#sample = { atMs: nowMs, bytes }
    return ((bytes - before) * 1000) / (nowMs - atMs) < SLOW_BYTES_PER_SECOND
  }
}
