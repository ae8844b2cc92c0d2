import { styleText } from 'node:util'

import { OperationError } from '../errors.ts'

/** A terminal, a pipe or a file; tests give their own. */
export interface TextStream {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

export interface OutputOptions {
  readonly stdout: TextStream
  readonly stderr: TextStream
  readonly isJson: boolean
  readonly isQuiet: boolean
  /** NO_COLOR and the like; a stream that is no terminal has none anyway */
  readonly hasColours: boolean
}

type Colour = 'green' | 'yellow' | 'red' | 'bold' | 'dim' | 'cyan'

/** Where a command says things: what was asked for on stdout, everything else on stderr. */
export class Output {
  readonly stdout: TextStream
  readonly stderr: TextStream
  readonly isJson: boolean
  readonly isQuiet: boolean
  readonly #hasColours: boolean

  constructor({ stdout, stderr, isJson, isQuiet, hasColours }: OutputOptions) {
    this.stdout = stdout
    this.stderr = stderr
    this.isJson = isJson
    this.isQuiet = isQuiet
    this.#hasColours = hasColours
  }

  /** The answer: `document` with --json, else the text. */
  answer(document: unknown, text: () => string): void {
    const line = this.isJson ? JSON.stringify(document, undefined, 2) : text()
    if (line !== '') this.stdout.write(`${line}\n`)
  }

  /** Something for people only, on stderr. */
  note(text: string): void {
    if (!this.isQuiet) this.stderr.write(`${text}\n`)
  }

  /** `text` in colour, where stdout shows colours. */
  coloured(colour: Colour, text: string, stream: TextStream = this.stdout): string {
    if (!this.#hasColours || stream.isTTY !== true) return text
    return styleText(colour, text, { validateStream: false })
  }

  /** The failure that ends a command: for people on stderr, with --json as the one document on stdout. */
  failure(error: OperationError): void {
    if (this.isJson) {
      this.stdout.write(`${JSON.stringify({ error: error.toJSON() }, undefined, 2)}\n`)
      return
    }
    const title = this.coloured('red', 'error:', this.stderr)
    const lines = [`${title} ${error.message}`, ...wantedAndFound(error), `  hint: ${error.hint}`]
    this.stderr.write(`${lines.join('\n')}\n`)
  }
}

/** What was wanted and found, where the message does not say it already. */
function wantedAndFound({ message, details }: OperationError): string[] {
  return ['wanted', 'found'].flatMap((name) => {
    const value = details[name]
    if (value === undefined) return []
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    return message.includes(text) ? [] : [`  ${name}: ${text}`]
  })
}
