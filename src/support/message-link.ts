import type { ChildProcess } from 'node:child_process'
import { deserialize, serialize } from 'node:v8'

/** One end of a connection that carries whole messages, in order: what structured clones can hold, and buffers. */
export interface MessageLink {
  /** What is sent after the end goes nowhere. */
  send(message: unknown): void
  onMessage(listener: (message: unknown) => void): void
  /** Called once, at the end, whoever brought it about. */
  onClosed(listener: () => void): void
}

/** To a child that was started with an `ipc` channel and `serialization: 'advanced'`. */
export function linkToChild(child: ChildProcess): MessageLink {
  return {
    // the answer of a child that is gone is its end, which is told anyway
    send: (message) => void child.send(message as object, () => {}),
    onMessage: (listener) => child.on('message', listener),
    onClosed: (listener) => {
      child.once('exit', listener)
      // one that could not be started has no exit; that it cannot be killed or written to says nothing
      child.on('error', () => {
        if (child.pid === undefined) listener()
      })
    },
  }
}

/** To the process that started this one. */
export function linkToParent(): MessageLink {
  return {
    send: (message) => void process.send?.(message, undefined, undefined, () => {}),
    onMessage: (listener) => process.on('message', listener),
    onClosed: (listener) => process.once('disconnect', listener),
  }
}

/** Two ends in one process; what goes over is copied, as between two. */
export function linkedPair(): [MessageLink, MessageLink] & Disposable {
  const ends = [new LinkedEnd(), new LinkedEnd()] as const
  ends[0].other = ends[1]
  ends[1].other = ends[0]
  return Object.assign<[MessageLink, MessageLink], Disposable>([...ends], {
    [Symbol.dispose]: () => {
      for (const end of ends) end.close()
    },
  })
}

class LinkedEnd implements MessageLink {
  other: LinkedEnd | undefined
  readonly #listeners: ((message: unknown) => void)[] = []
  readonly #onClosed: (() => void)[] = []
  #isClosed = false

  send(message: unknown): void {
    const bytes = serialize(message)
    setImmediate(() => this.other?.receive(bytes))
  }

  receive(bytes: Buffer): void {
    if (this.#isClosed) return
    for (const listener of this.#listeners) listener(deserialize(bytes))
  }

  onMessage(listener: (message: unknown) => void): void {
    this.#listeners.push(listener)
  }

  onClosed(listener: () => void): void {
    this.#onClosed.push(listener)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const listener of this.#onClosed) listener()
  }
}
