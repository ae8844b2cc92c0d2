import { setTimeout as sleep } from 'node:timers/promises'

import type { ProgressEvent } from '../control/control-protocol.ts'
import type { TransferStatus } from '../status/node-status.ts'
import type { DemoImage } from './demo-image.ts'
import type { DemoNode } from './demo-node.ts'
import type { DemoView, PullerState } from './demo-view.ts'
import { fetchJson } from './node-http.ts'

const POLL_MS = 150

/** One node of the demo pulling the image, seen from outside. */
export class DemoPull {
  readonly #node: DemoNode
  readonly #image: DemoImage
  readonly #doneByDigest = new Map<string, number>()
  #transfers: readonly TransferStatus[] = []

  constructor(node: DemoNode, image: DemoImage) {
    this.#node = node
    this.#image = image
  }

  get state(): PullerState {
    const layers = this.#image.layers.map(({ digest, size }) => ({
      digest,
      size,
      done: this.#doneByDigest.get(digest) ?? 0,
      bytesBySender: sumBySender(this.#transfers.filter((transfer) => transfer.digest === digest)),
    }))
    const digests = new Set<string>(layers.map(({ digest }) => digest))
    return {
      name: this.#node.name,
      size: layers.reduce((sum, { size }) => sum + size, 0),
      done: layers.reduce((sum, { done }) => sum + done, 0),
      bytesBySender: sumBySender(this.#transfers.filter(({ digest }) => digests.has(digest))),
      layers,
    }
  }

  /** Pulls to the end. @throws OperationError whatever the node says; NODE_FAILED where it ended by itself */
  async run(reference: string, signal: AbortSignal): Promise<void> {
    const report = (event: ProgressEvent) => {
      if (event.type === 'blob') this.#doneByDigest.set(event.digest, event.done)
    }
    try {
      await this.#node.operations.pull({ reference, load: false }, { signal, report })
    } catch (error) {
      signal.throwIfAborted()
      throw (await this.#node.failure()) ?? error
    }
  }

  /** Asks the node from whom its bytes came. */
  async look(signal: AbortSignal): Promise<void> {
    const answer = await fetchJson(this.#node.ready.registry, '/api/v1/transfers', signal)
    this.#transfers = (answer as { transfers: readonly TransferStatus[] }).transfers
  }
}

function sumBySender(transfers: readonly TransferStatus[]): ReadonlyMap<string, number> {
  const bytesBySender = new Map<string, number>()
  for (const { nodeName, peer, bytes } of transfers.flatMap(({ peers }) => peers)) {
    const sender = nodeName ?? peer
    bytesBySender.set(sender, (bytesBySender.get(sender) ?? 0) + bytes)
  }
  return bytesBySender
}

/** Runs all pulls at once; `onLook` is told how they fare, several times a second and once at the end. */
export async function pullTogether(
  pulls: readonly DemoPull[],
  options: {
    reference: string
    view: DemoView
    onLook: (states: readonly PullerState[]) => Promise<void>
    signal: AbortSignal
  },
): Promise<void> {
  const { reference, view, onLook } = options
  const failed = new AbortController()
  const signal = AbortSignal.any([options.signal, failed.signal])
  let isOver = false
  const all = Promise.all(pulls.map((pull) => pull.run(reference, signal)))
  const ended = all.then(
    () => (isOver = true),
    (error: unknown) => failed.abort(error),
  )
  try {
    for (;;) {
      const wasOver = isOver
      await Promise.all(pulls.map((pull) => pull.look(signal)))
      const states = pulls.map(({ state }) => state)
      view.show(states)
      await onLook(states)
      if (wasOver) return
      await Promise.race([ended, sleep(POLL_MS, undefined, { signal })])
    }
  } finally {
    failed.abort(new Error('the demo is over'))
    await ended
  }
}
