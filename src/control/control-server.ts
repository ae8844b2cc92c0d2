import type { IncomingMessage, ServerResponse } from 'node:http'

import { isOperationError, messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { clientSignal } from '../http/client-signal.ts'
import { listenOnSocket } from '../http/listen-on-socket.ts'
import type { HttpServer } from '../http/listen.ts'
import type { Log } from '../telemetry/log.ts'
import {
  ALIVE_INTERVAL_MS,
  MAX_REQUEST_BYTES,
  type ErrorBody,
  type NodeOperations,
  type Operation,
  type OperationName,
} from './control-protocol.ts'
import { isOperationName, parseRequest } from './control-request.ts'
import { openSocketPath } from './control-socket.ts'
import { ProgressWriter } from './progress-writer.ts'

interface ControlServerOptions {
  readonly dataDir: string
  readonly operations: NodeOperations
  readonly log: Log
  /** how long operations that were told to stop have to do so */
  readonly drainMs?: number
}

/** An operation whose types the table of parsers has already checked. */
type AnyOperation = Operation<unknown, unknown>

const MAX_CONNECTIONS = 64
const MAX_BODY_MS = 10_000
const DEFAULT_DRAIN_MS = 2000

/** The control socket of a running node: what changes something goes through here, for its owner only (0600). */
export class ControlServer implements AsyncDisposable {
  readonly #operations: NodeOperations
  readonly #log: Log
  readonly #drainMs: number
  readonly #stopping = new AbortController()
  readonly #resources = new AsyncDisposableStack()

  private constructor({ operations, log, drainMs = DEFAULT_DRAIN_MS }: ControlServerOptions) {
    this.#operations = operations
    this.#log = log
    this.#drainMs = drainMs
  }

  /**
   * Listens on `<data-dir>/control.sock`; the socket that a killed node left behind is replaced.
   * @throws OperationError DATA_DIR_IN_USE: another node answers there; DATA_DIR_UNUSABLE
   */
  static async open(options: ControlServerOptions): Promise<ControlServer> {
    const server = new ControlServer(options)
    await using resources = new AsyncDisposableStack()
    try {
      const { path } = resources.use(await openSocketPath(options.dataDir))
      const listening = await server.#listen(path)
      resources.defer(() => listening.drain({ timeoutMs: server.#drainMs }))
    } catch (cause) {
      throw refusal(cause, options.dataDir)
    }
    server.#resources.use(resources.move())
    return server
  }

  /** Takes nothing new, aborts what runs, and waits a moment for it to tell its clients. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new OperationError('NODE_UNREACHABLE', 'the node was stopped meanwhile'))
    await this.#resources.disposeAsync()
  }

  #listen(path: string): Promise<HttpServer> {
    return listenOnSocket(
      (request, response) => {
        this.#answer(request, response).catch((error: unknown) => {
          this.#log.error({ error: messageOf(error) }, 'control request failed')
        })
      },
      path,
      { log: this.#log, limits: { maxConnections: MAX_CONNECTIONS } },
    )
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = clientSignal(response)
    const signal = AbortSignal.any([gone, this.#stopping.signal])
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders()
    using progress = new ProgressWriter(response)
    // ends with the connection, not with the operation: that may be deaf
    const beat = setInterval(() => progress.beat(), ALIVE_INTERVAL_MS)
    response.once('close', () => clearInterval(beat))
    try {
      const result = await this.#run(request, { signal, progress })
      progress.end({ type: 'result', result: result ?? {} })
    } catch (error) {
      if (!gone.aborted) progress.end({ type: 'error', error: this.#bodyOf(error, signal) })
    } finally {
      response.end()
    }
  }

  async #run(
    request: IncomingMessage,
    { signal, progress }: { signal: AbortSignal; progress: ProgressWriter },
  ): Promise<unknown> {
    const name = operationNameOf(request)
    const operation = this.#operationOf(name)
    const parsed = parseRequest(name, await readBody(request))
    signal.throwIfAborted()
    return operation(parsed, { signal, report: (event) => progress.report(event) })
  }

  #operationOf(name: OperationName): AnyOperation {
    const operation = this.#operations[name]
    if (!operation) throw unknownOperation(name)
    return (operation as AnyOperation).bind(this.#operations)
  }

  /** Failures that nobody foresaw are logged here, with their stack, and told without it. */
  #bodyOf(thrown: unknown, signal: AbortSignal): ErrorBody {
    const error = signal.aborted ? signal.reason : thrown
    if (error instanceof OperationError) return error.toJSON()
    this.#log.error({ error: thrown instanceof Error ? thrown.stack : thrown }, 'operation failed')
    return new OperationError('NODE_FAILED', messageOf(thrown)).toJSON()
  }
}

function refusal(cause: unknown, dataDir: string): OperationError {
  if (isOperationError(cause, 'DATA_DIR_IN_USE')) {
    return new OperationError('DATA_DIR_IN_USE', `${dataDir}: another node runs with it`, { cause })
  }
  if (isOperationError(cause, 'DATA_DIR_UNUSABLE')) return cause
  const systemError = cause instanceof OperationError ? cause.cause : cause
  const found = systemCodeOf(systemError) ?? messageOf(cause)
  return new OperationError(
    'DATA_DIR_UNUSABLE',
    `${dataDir}: wanted to open the control socket, found ${found}`,
    { cause },
  )
}

function operationNameOf({ method, url }: IncomingMessage): OperationName {
  const name = /^\/v1\/([A-Za-z]{1,40})$/.exec(url ?? '')?.[1] ?? ''
  if (method !== 'POST' || !isOperationName(name)) throw unknownOperation(`${method} ${url}`)
  return name
}

function unknownOperation(name: string): OperationError {
  return new OperationError('OPERATION_UNKNOWN', `the node does not know "${name.slice(0, 100)}"`)
}

async function readBody(request: IncomingMessage): Promise<string> {
  const patience = setTimeout(() => request.destroy(), MAX_BODY_MS)
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    // the rest of a body that is too long is left for the connection's end
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      bytes += (chunk as Buffer).length
      if (bytes > MAX_REQUEST_BYTES) throw tooLong()
      chunks.push(chunk as Buffer)
    }
  } finally {
    clearTimeout(patience)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function tooLong(): OperationError {
  return new OperationError(
    'MESSAGE_INVALID',
    `request: wanted at most ${MAX_REQUEST_BYTES} bytes, found more`,
  )
}
