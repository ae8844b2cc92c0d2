import type { WireTraffic } from '../torrent/torrent-engine.ts'
import type { Traffic } from './peer-side-protocol.ts'

const TELL_EVERY_MS = 100

/** Adds up what goes over connections, so that not every block of 16 KiB is a message of its own. */
export class TrafficCount implements Disposable {
  readonly #tell: (traffic: readonly Traffic[]) => void
  readonly #sums = new Map<string, Traffic>()
  #timer: NodeJS.Timeout | undefined

  constructor(tell: (traffic: readonly Traffic[]) => void) {
    this.#tell = tell
  }

  add(direction: Traffic['direction'], { endpoint, nodeId, infoHash, bytes }: WireTraffic): void {
    const key = `${direction} ${infoHash} ${nodeId} ${endpoint?.host} ${endpoint?.port}`
    const sum = (this.#sums.get(key)?.bytes ?? 0) + bytes
    this.#sums.set(key, { direction, endpoint, nodeId, infoHash, bytes: sum })
    this.#timer ??= setTimeout(() => this.flush(), TELL_EVERY_MS)
  }

  /** Tells what has not been told. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#sums.size === 0) return
    this.#tell([...this.#sums.values()])
    this.#sums.clear()
  }

  [Symbol.dispose](): void {
    this.flush()
  }
}
