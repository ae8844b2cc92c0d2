/** Requests to an engine's API: one way in and out, with deadlines and our errors; the only importer of dockerode. */
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'

import type Docker from 'dockerode'

import { messageOf, OperationError } from '../errors.ts'
import { engineError } from './engine-error.ts'
import { formatEngineHost, type EngineHost } from './engine-host.ts'

const ANSWER_MS = 30_000
const MAX_ANSWER_BYTES = 64 * 1024 * 1024
const STATUS_OK = { 200: true, 201: true, 204: true }

/** A request to an engine. */
export interface EngineRequest {
  /** as a person would say it, for messages */
  readonly what: string
  readonly path: string
  readonly method?: 'GET' | 'POST' | 'DELETE'
  readonly query?: Readonly<Record<string, unknown>>
  readonly body?: Readable
  readonly signal?: AbortSignal
}

/** Client certificate and authority for `tcp://`, PEM. */
export interface EngineTls {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

export interface EngineClientOptions {
  readonly tls?: EngineTls
  readonly answerMs?: number
}

/** Speaks HTTP with one engine; its failures are those of {@link engineError}. */
export class EngineClient {
  /** `unix:///var/run/docker.sock` */
  readonly host: string
  readonly #place: { host: EngineHost; tls: EngineTls | undefined }
  #docker: Promise<Docker> | undefined
  readonly #answerMs: number

  /** @param options.answerMs a list, a tag and the like are answered within this time */
  constructor(host: EngineHost, { tls, answerMs = ANSWER_MS }: EngineClientOptions = {}) {
    this.host = formatEngineHost(host)
    this.#place = { host, tls }
    this.#answerMs = answerMs
  }

  /** A whole answer within 30 s, parsed; undefined where it is no JSON. */
  async ask(request: EngineRequest): Promise<unknown> {
    const timeout = AbortSignal.timeout(this.#answerMs)
    const signal = request.signal ? AbortSignal.any([request.signal, timeout]) : timeout
    try {
      return parseJson(await collect(await this.#dial({ ...request, signal })))
    } catch (error) {
      throw this.explain(timeout.aborted ? timeout.reason : error, request)
    }
  }

  /** An answer as soon as it begins; the caller reads it to its end or destroys it. */
  async open(
    request: EngineRequest,
    { isQuick = false }: { isQuick?: boolean } = {},
  ): Promise<IncomingMessage> {
    const late = new AbortController()
    const timer = isQuick ? setTimeout(() => late.abort(), this.#answerMs) : undefined
    const signal = request.signal ? AbortSignal.any([request.signal, late.signal]) : late.signal
    try {
      return await this.#dial({ ...request, signal })
    } catch (error) {
      throw this.explain(error, request)
    } finally {
      clearTimeout(timer)
    }
  }

  /** The bytes of an answer; a cut connection is ENGINE_UNAVAILABLE. */
  async *bytesOf(
    answer: IncomingMessage,
    request: EngineRequest,
  ): AsyncGenerator<Uint8Array, void> {
    try {
      for await (const chunk of answer) yield chunk as Uint8Array
    } catch (error) {
      throw this.explain(error, request)
    }
  }

  /** What a failure of a request means. */
  explain(error: unknown, { what, signal }: EngineRequest): unknown {
    return engineError(error, { what, host: this.host, signal })
  }

  async #dial(request: EngineRequest & { signal: AbortSignal }): Promise<IncomingMessage> {
    const { path, method = 'GET', query = {}, body, signal } = request
    this.#docker ??= openClient(this.#place)
    const { modem } = await this.#docker
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    modem.dial(
      {
        path: `${path}?`,
        method,
        options: { _query: query, _body: {} },
        isStream: true,
        statusCodes: STATUS_OK,
        abortSignal: signal,
        ...(body && { file: body }),
      },
      (error, answer) => {
        if (error) reject(error)
        else resolve(answer as IncomingMessage)
      },
    )
    return promise
  }
}

/** JSON of the engine, undefined for anything else. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * Loaded by the first request: 150 files and 15 MB of memory, which a node beside no Docker does without. What the
 * environment says about hosts and TLS is the caller's to read: every setting is given here.
 */
async function openClient({
  host,
  tls,
}: {
  host: EngineHost
  tls: EngineTls | undefined
}): Promise<Docker> {
  const { default: Docker } = await import('dockerode')
  const place =
    'socketPath' in host
      ? { socketPath: host.socketPath, host: undefined, port: undefined }
      : { socketPath: undefined, host: host.hostname, port: host.port }
  const { ca, cert, key } = tls ?? {}
  try {
    return new Docker({ ...place, protocol: tls ? 'https' : 'http', ca, cert, key })
  } catch (cause) {
    throw new OperationError('CONFIG_INVALID', `docker host: ${messageOf(cause)}`, { cause })
  }
}

async function collect(answer: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of answer) {
    chunks.push(chunk as Uint8Array)
    bytes += (chunk as Uint8Array).length
    if (bytes > MAX_ANSWER_BYTES) throw new RangeError(`more than ${MAX_ANSWER_BYTES} bytes`)
  }
  return Buffer.concat(chunks).toString()
}
