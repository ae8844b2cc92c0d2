import { setTimeout as pause } from 'node:timers/promises'

import { isRetryable } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { readLines } from '../support/text-lines.ts'

const ACTIONS = ['pull', 'tag', 'load', 'import', 'create', 'untag', 'delete'] as const
const MAX_LINE_CHARS = 1024 * 1024
const MIN_DELAY_MS = 250
const MAX_DELAY_MS = 30_000

export type ImageAction = (typeof ACTIONS)[number]

/** Something happened to an image of the engine, or (`resync`) may have, unseen: list again. */
export type ImageEvent =
  | { readonly action: 'resync' }
  | {
      readonly action: ImageAction
      /** the image ID; with `pull` the name */
      readonly id: string
      /** not with `load`; with `untag` and `delete` only from the containerd store */
      readonly name?: string
      /** nanoseconds since 1970, by the engine's clock */
      readonly timeNano: bigint
    }

/** What GET /events is asked for: not `save`, which our own exports cause. */
export const EVENT_FILTERS = { type: ['image'], event: [...ACTIONS] }

/**
 * Follows the events of an engine for ever, through its restarts: after a lost connection it tries again
 * with back-off from 250 ms to 30 s, goes on after the last event seen, and says `resync`.
 * @param open connects; `since` in seconds with a fraction, as the engine takes it
 * @throws the reason of `signal`; failures of `open` that no waiting mends
 */
export async function* followImageEvents({
  open,
  sinceMs,
  signal,
  minDelayMs = MIN_DELAY_MS,
}: {
  open: (since: string | undefined) => Promise<AsyncIterable<unknown>>
  sinceMs?: number
  signal?: AbortSignal
  minDelayMs?: number
}): AsyncGenerator<ImageEvent, void> {
  let since = sinceMs === undefined ? undefined : (sinceMs / 1000).toFixed(3)
  let lastNano: bigint | undefined
  let isLost = false
  let delayMs = minDelayMs
  for (;;) {
    signal?.throwIfAborted()
    try {
      const stream = await open(since)
      delayMs = minDelayMs
      if (isLost) yield { action: 'resync' }
      for await (const event of readImageEvents(stream)) {
        // `since` includes the event that was seen last.
        if (event.timeNano === lastNano) continue
        lastNano = event.timeNano
        since = formatNano(lastNano)
        yield event
      }
    } catch (error) {
      signal?.throwIfAborted()
      if (!isRetryable(error)) throw error
    }
    isLost = true
    await wait(delayMs, signal)
    delayMs = Math.min(delayMs * 2, MAX_DELAY_MS)
  }
}

type SeenEvent = Exclude<ImageEvent, { action: 'resync' }>

async function* readImageEvents(stream: AsyncIterable<unknown>): AsyncGenerator<SeenEvent, void> {
  for await (const line of readLines(stream, { maxChars: MAX_LINE_CHARS })) {
    const event = parseImageEvent(line)
    if (event) yield event
  }
}

/** @param line one JSON object of GET /events; undefined for what is no event of an image */
export function parseImageEvent(line: string): SeenEvent | undefined {
  const record = parseRecord(line)
  const actor = asRecord(record?.['Actor'])
  const id = actor?.['ID']
  const action = ACTIONS.find((known) => known === record?.['Action'])
  // The number is beyond what JSON.parse keeps exact.
  const nano = /"timeNano":\s*(\d{1,20})\b/.exec(line)?.[1]
  if (record?.['Type'] !== 'image' || !action || typeof id !== 'string' || !nano) return undefined
  const name = action === 'pull' ? id : asRecord(actor?.['Attributes'])?.['name']
  const hasName = typeof name === 'string' && (action === 'pull' || name !== id)
  return { action, id, ...(hasName && { name }), timeNano: BigInt(nano) }
}

function parseRecord(line: string): Record<string, unknown> | undefined {
  try {
    return asRecord(JSON.parse(line))
  } catch {
    return undefined
  }
}

function formatNano(nano: bigint): string {
  const digits = nano.toString().padStart(10, '0')
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`
}

async function wait(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  const jittered = delayMs * (0.75 + Math.random() / 2)
  await pause(jittered, undefined, signal ? { signal } : {}).catch(() => undefined)
}
