import {
  ERROR_CODES,
  isOperationError,
  messageOf,
  OperationError,
  systemCodeOf,
} from '../errors.ts'
import type { MessageLink } from './message-link.ts'

/** What one end may ask of the other, by name. What goes over is copied. */
export interface RemoteInterface {
  /** one answer */
  readonly calls: object
  /** many answers */
  readonly streams: object
  /** none */
  readonly notes: object
}

type Method<Argument, Result> = (argument: Argument, options: { signal: AbortSignal }) => Result
type ArgumentOf<F> = F extends (argument: infer Argument) => unknown ? Argument : never
type ResultOf<F> = F extends (argument: never) => infer Result ? Result : never

/** What an end does when it is asked. */
export type RemoteHandlers<Ours extends RemoteInterface> = {
  readonly calls: {
    [Name in keyof Ours['calls']]: Method<
      ArgumentOf<Ours['calls'][Name]>,
      Promise<ResultOf<Ours['calls'][Name]>> | ResultOf<Ours['calls'][Name]>
    >
  }
  readonly streams: {
    [Name in keyof Ours['streams']]: Method<
      ArgumentOf<Ours['streams'][Name]>,
      AsyncIterable<ResultOf<Ours['streams'][Name]>>
    >
  }
  readonly notes: {
    [Name in keyof Ours['notes']]: (argument: ArgumentOf<Ours['notes'][Name]>) => void
  }
}

type Message =
  | { readonly kind: 'call' | 'stream'; readonly id: number; name: string; argument: unknown }
  | { readonly kind: 'note'; name: string; argument: unknown }
  | { readonly kind: 'item' | 'done'; readonly id: number; value: unknown }
  | { readonly kind: 'failed'; readonly id: number; error: SentError }
  | { readonly kind: 'cancel'; readonly id: number }

interface SentError {
  readonly name: string
  readonly message: string
  readonly code: string | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined
}

interface Pending {
  onItem(value: unknown): void
  onEnd(outcome: { value: unknown } | { error: unknown }): void
}

/** Calls, streams and notes between two ends of a link. After its end, every call fails with what the end was. */
export class RemoteCalls<Theirs extends RemoteInterface, Ours extends RemoteInterface> {
  readonly #link: MessageLink
  readonly #handlers: RemoteHandlers<RemoteInterface>
  readonly #pending = new Map<number, Pending>()
  readonly #running = new Map<number, AbortController>()
  #lastId = 0
  #end: unknown

  /** @param onLost what calls fail with when the link has ended */
  constructor(link: MessageLink, handlers: RemoteHandlers<Ours>, onLost: () => unknown) {
    this.#link = link
    this.#handlers = handlers
    link.onMessage((message) => this.#onMessage(message as Message))
    link.onClosed(() => this.#onClosed(onLost()))
  }

  /** @throws what the other end throws, OperationErrors as such; the reason of `signal` */
  async call<Name extends keyof Theirs['calls'] & string>(
    name: Name,
    argument: ArgumentOf<Theirs['calls'][Name]>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<ResultOf<Theirs['calls'][Name]>> {
    signal?.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const id = this.#open('call', { name, argument }, { onItem: () => {}, onEnd: settle })
    const onAbort = () => {
      this.#cancel(id)
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return (await promise) as ResultOf<Theirs['calls'][Name]>
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }

    function settle(outcome: { value: unknown } | { error: unknown }): void {
      if ('error' in outcome) reject(outcome.error)
      else resolve(outcome.value)
    }
  }

  /** Items as they come; the other end stops when nobody reads on. @throws as {@link call} */
  async *stream<Name extends keyof Theirs['streams'] & string>(
    name: Name,
    argument: ArgumentOf<Theirs['streams'][Name]>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<ResultOf<Theirs['streams'][Name]>> {
    signal?.throwIfAborted()
    const items: unknown[] = []
    let outcome: { value: unknown } | { error: unknown } | undefined
    let change = Promise.withResolvers<void>()
    const id = this.#open(
      'stream',
      { name, argument },
      {
        onItem: (value) => {
          items.push(value)
          change.resolve()
        },
        onEnd: (end) => {
          outcome = end
          change.resolve()
        },
      },
    )
    const onAbort = () => {
      this.#cancel(id)
      change.resolve()
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      for (;;) {
        while (items.length > 0) yield items.shift() as ResultOf<Theirs['streams'][Name]>
        signal?.throwIfAborted()
        if (outcome) break
        await change.promise
        change = Promise.withResolvers<void>()
      }
      if ('error' in outcome) throw outcome.error
    } finally {
      signal?.removeEventListener('abort', onAbort)
      if (!outcome) this.#cancel(id)
    }
  }

  note<Name extends keyof Theirs['notes'] & string>(
    name: Name,
    argument: ArgumentOf<Theirs['notes'][Name]>,
  ): void {
    this.#send({ kind: 'note', name, argument })
  }

  #open(
    kind: 'call' | 'stream',
    { name, argument }: { name: string; argument: unknown },
    pending: Pending,
  ): number {
    this.#lastId += 1
    const id = this.#lastId
    if (this.#end !== undefined) {
      pending.onEnd({ error: this.#end })
      return id
    }
    this.#pending.set(id, pending)
    this.#send({ kind, id, name, argument })
    return id
  }

  #cancel(id: number): void {
    if (this.#pending.delete(id)) this.#send({ kind: 'cancel', id })
  }

  #send(message: Message): void {
    if (this.#end === undefined) this.#link.send(message)
  }

  #onMessage(message: Message): void {
    switch (message.kind) {
      case 'call':
        return void this.#answer(message)
      case 'stream':
        return void this.#answerMany(message)
      case 'note':
        this.#handler('notes', message.name)(message.argument)
        return
      case 'cancel':
        return this.#running.get(message.id)?.abort(new OperationError('INTERRUPTED', 'cancelled'))
      case 'item':
        return this.#pending.get(message.id)?.onItem(message.value)
      case 'done':
        return this.#finish(message.id, { value: message.value })
      case 'failed':
        return this.#finish(message.id, { error: readError(message.error) })
    }
  }

  #finish(id: number, outcome: { value: unknown } | { error: unknown }): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    pending?.onEnd(outcome)
  }

  async #answer({ id, name, argument }: { id: number; name: string; argument: unknown }) {
    await this.#run(id, async (options) => {
      const value = await this.#handler('calls', name)(argument, options)
      return value
    })
  }

  async #answerMany({ id, name, argument }: { id: number; name: string; argument: unknown }) {
    await this.#run(id, async (options) => {
      const items = this.#handler('streams', name)(argument, options) as AsyncIterable<unknown>
      for await (const value of items) {
        if (options.signal.aborted) return undefined
        this.#send({ kind: 'item', id, value })
      }
      return undefined
    })
  }

  async #run(id: number, work: (options: { signal: AbortSignal }) => Promise<unknown>) {
    const stop = new AbortController()
    this.#running.set(id, stop)
    try {
      const value = await work({ signal: stop.signal })
      this.#send({ kind: 'done', id, value })
    } catch (error) {
      this.#send({ kind: 'failed', id, error: sentError(error) })
    } finally {
      this.#running.delete(id)
    }
  }

  #handler(kind: keyof RemoteInterface, name: string) {
    const handlers = this.#handlers[kind] as Record<
      string,
      (argument: unknown, options?: { signal: AbortSignal }) => unknown
    >
    if (!Object.hasOwn(handlers, name)) throw new TypeError(`nobody answers ${kind} ${name}`)
    return handlers[name] as (typeof handlers)[string]
  }

  #onClosed(end: unknown): void {
    this.#end ??= end
    for (const stop of this.#running.values()) stop.abort(end)
    for (const id of this.#pending.keys()) this.#finish(id, { error: end })
  }
}

function sentError(error: unknown): SentError {
  return {
    name: error instanceof Error ? error.name : 'Error',
    message: messageOf(error),
    code: isOperationError(error) ? error.code : systemCodeOf(error),
    details: isOperationError(error) ? error.details : undefined,
  }
}

function readError({ name, message, code, details }: SentError): Error {
  const known = ERROR_CODES.find((each) => each === code)
  if (known && name === 'OperationError')
    return new OperationError(known, message, { ...(details && { details }) })
  return Object.assign(new Error(message), { name, ...(code !== undefined && { code }) })
}
