import type { BlobProgress, NodeProgress, ProgressEvent } from '../control/control-protocol.ts'
import { formatByteSize } from '../support/byte-size.ts'
import type { TextStream } from './output.ts'
import type { Progress } from './progress.ts'
import { printable } from './table.ts'
import { shortDigest, sourceSizes } from './wording.ts'

/** For pipes and log files: one line per change of state, none for mere movement. */
export class LineProgress implements Progress {
  readonly #stream: TextStream
  readonly #stateBySubject = new Map<string, string>()

  constructor(stream: TextStream) {
    this.#stream = stream
  }

  report(event: ProgressEvent): void {
    const subject = subjectOf(event)
    if (this.#stateBySubject.get(subject) === event.state) return
    this.#stateBySubject.set(subject, event.state)
    if (event.type === 'blob' && event.state === 'waiting') return
    const parts = [subject, sizeOf(event), event.state, remarkOf(event)]
    this.#stream.write(`${printable(parts.filter((part) => part !== '').join('  '))}\n`)
  }

  [Symbol.dispose](): void {
    this.#stateBySubject.clear()
  }
}

function subjectOf(event: ProgressEvent): string {
  if (event.type === 'image') return event.reference
  if (event.type === 'node') return `${event.nodeName} (${event.address})`
  return `${event.reference}  ${event.role} ${shortDigest(event.digest)}`
}

function sizeOf(event: ProgressEvent): string {
  return event.type === 'image' || event.size === 0 ? '' : formatByteSize(event.size)
}

function remarkOf(event: ProgressEvent): string {
  if (event.type === 'node' && event.message !== undefined) return event.message
  // the message of a failure is the error that ends the command
  if (event.type === 'image') return event.state === 'failed' ? '' : (event.message ?? '')
  return event.state === 'done' ? fromOf(event) : ''
}

function fromOf({ bytes }: BlobProgress | NodeProgress): string {
  const sizes = sourceSizes(bytes)
  return sizes && `from ${sizes}`
}
