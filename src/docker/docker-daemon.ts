/** The engine on this host: what it holds, and what happens to it. */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'

import { isOperationError, OperationError } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import {
  EngineClient,
  parseJson,
  type EngineClientOptions,
  type EngineRequest,
} from './engine-client.ts'
import { engineFailed, failureIn } from './engine-error.ts'
import { parseEngineHost, usualEngineHosts, type EngineHost } from './engine-host.ts'
import {
  parseEngineDescription,
  parseEngineImage,
  parseInspectedImage,
  type EngineDescription,
  type EngineImage,
  type InspectedImage,
} from './engine-records.ts'
import { EVENT_FILTERS, followImageEvents, type ImageEvent } from './image-events.ts'
import { readLines } from '../support/text-lines.ts'

export type { EngineTls } from './engine-client.ts'
export type { EngineDescription, EngineImage, InspectedImage } from './engine-records.ts'
export type { ImageAction, ImageEvent } from './image-events.ts'

const MAX_LINE_CHARS = 1024 * 1024
/** names go into the request line */
const MAX_EXPORTS = 500
/** the longest failure that is understood behind the bytes of an export */
const MAX_FAILURE_BYTES = 8192
const KEEP_ALIVE_MS = 30_000
const IMAGE_NAME = /^[a-z0-9[][\w.:@/[\]-]*$/i

interface Waiting {
  readonly signal?: AbortSignal
}

/**
 * A Docker engine. Every method throws OperationError ENGINE_UNAVAILABLE (not there, stopped midway, no answer
 * in time), ENGINE_PERMISSION, ENGINE_FAILED (with the engine's words), or the reason of its signal.
 */
export class DockerDaemon {
  /** whether it listens on a socket file, so that its files may be on this host */
  readonly isLocal: boolean
  readonly #client: EngineClient

  private constructor(host: EngineHost, options: EngineClientOptions) {
    this.isLocal = 'socketPath' in host
    this.#client = new EngineClient(host, options)
  }

  /**
   * Finds an engine that answers.
   * @param options.host as DOCKER_HOST; without one the usual sockets are tried
   * @param options.answerMs how long a quick answer may take, 30 s by default
   * @throws OperationError CONFIG_INVALID as well
   */
  static async connect({
    host,
    signal,
    ...options
  }: Waiting & EngineClientOptions & { host?: string } = {}): Promise<DockerDaemon> {
    const hosts = host === undefined ? usualEngineHosts() : [parseEngineHost(host)]
    const failures: unknown[] = []
    for (const candidate of hosts) {
      const daemon = new DockerDaemon(candidate, options)
      try {
        await daemon.describe(signal ? { signal } : {})
        return daemon
      } catch (error) {
        signal?.throwIfAborted()
        failures.push(error)
      }
    }
    // A socket that is there but closed to us says more than one that is not there.
    throw failures.find((error) => !isOperationError(error, 'ENGINE_UNAVAILABLE')) ?? failures[0]
  }

  /** `unix:///var/run/docker.sock` */
  get host(): string {
    return this.#client.host
  }

  async describe(waiting: Waiting = {}): Promise<EngineDescription> {
    const version = await this.#client.ask({ what: 'version', path: '/version', ...waiting })
    const info = await this.#client.ask({ what: 'info', path: '/info', ...waiting })
    return parseEngineDescription(info, version)
  }

  /** All images but the steps of builds. */
  async listImages(waiting: Waiting = {}): Promise<EngineImage[]> {
    const query = { digests: 1 }
    const list = await this.#client.ask({ what: 'list', path: '/images/json', query, ...waiting })
    if (!Array.isArray(list)) throw engineFailed('list', 'its answer is no list')
    return list.map(parseEngineImage).filter((image) => image !== undefined)
  }

  /** @param name a name or an ID @throws OperationError IMAGE_UNKNOWN */
  async inspect(name: string, waiting: Waiting = {}): Promise<InspectedImage> {
    const path = imagePath(name, '/json')
    return parseInspectedImage(
      await this.#client.ask({ what: `inspect ${name}`, path, ...waiting }),
    )
  }

  /**
   * The images as one tar, in which shared layers come once. The classic store copies all layers to a
   * temporary folder before the first byte. The caller reads it to its end or destroys it.
   * @param names names or IDs
   * @throws OperationError IMAGE_UNKNOWN: one of them is not there
   */
  async exportImages(names: readonly string[], waiting: Waiting = {}): Promise<Readable> {
    if (names.length > MAX_EXPORTS) throw new TypeError(`more than ${MAX_EXPORTS} images at once`)
    const what = `export ${names.join(' ')}`.slice(0, 200)
    const request = { what, path: '/images/get', query: { names }, ...waiting }
    const answer = await this.#client.open(request)
    const bytes = withoutFailure(this.#client.bytesOf(answer, request), what)
    const tar = Readable.from(bytes, { objectMode: false })
    // A tar that nobody began to read would leave the request open.
    tar.once('close', () => answer.destroy())
    return tar
  }

  /**
   * Loads a tar of images; `tar` is destroyed in the end.
   * @returns the names, and the IDs of images without a name, as the engine says them
   */
  async loadImages(tar: Readable, waiting: Waiting = {}): Promise<string[]> {
    const request: EngineRequest = {
      what: 'load',
      method: 'POST',
      path: '/images/load',
      query: { quiet: 1 },
      body: tar,
      ...waiting,
    }
    let sourceFailure: unknown
    tar.once('error', (error) => (sourceFailure ??= error))
    const ended = new AbortController()
    const signals = waiting.signal ? [waiting.signal, ended.signal] : [ended.signal]
    try {
      const signal = AbortSignal.any(signals)
      return await readLoaded(await this.#client.open({ ...request, signal }))
    } catch (error) {
      waiting.signal?.throwIfAborted()
      throw sourceFailure ?? this.#client.explain(error, request)
    } finally {
      tar.destroy()
      // An engine that answers before it has read the tar leaves the request open.
      ended.abort()
    }
  }

  /**
   * Gives an image a further name.
   * @param target `name:tag`; the tag is `latest` where none is written
   * @throws OperationError IMAGE_UNKNOWN
   */
  async tagImage(name: string, target: string, waiting: Waiting = {}): Promise<void> {
    const colon = target.lastIndexOf(':')
    const hasTag = colon > target.lastIndexOf('/')
    const query = {
      repo: hasTag ? target.slice(0, colon) : target,
      tag: hasTag ? target.slice(colon + 1) : 'latest',
    }
    const path = imagePath(name, '/tag')
    await this.#client.ask({ what: `tag ${name}`, method: 'POST', path, query, ...waiting })
  }

  /**
   * Takes a name away, and the image with its last name.
   * @param options.noPrune keeps untagged parents
   * @throws OperationError IMAGE_UNKNOWN
   */
  async removeImage(
    name: string,
    { noPrune = false, ...waiting }: Waiting & { noPrune?: boolean } = {},
  ): Promise<void> {
    const query = { noprune: noPrune ? 1 : 0 }
    const path = imagePath(name)
    await this.#client.ask({ what: `remove ${name}`, method: 'DELETE', path, query, ...waiting })
  }

  /** What happens to images, for ever; see {@link followImageEvents}. */
  events({ sinceMs, ...waiting }: Waiting & { sinceMs?: number } = {}): AsyncGenerator<
    ImageEvent,
    void
  > {
    return followImageEvents({
      open: async (since) => await this.#openEvents(since, waiting),
      ...(sinceMs !== undefined && { sinceMs }),
      ...waiting,
    })
  }

  async #openEvents(
    since: string | undefined,
    waiting: Waiting,
  ): Promise<AsyncIterable<Uint8Array>> {
    const filters = JSON.stringify(EVENT_FILTERS)
    const query = { filters, ...(since !== undefined && { since }) }
    const request: EngineRequest = { what: 'events', path: '/events', query, ...waiting }
    const answer = await this.#client.open(request, { isQuick: true })
    // An engine that vanished without a word must not keep us listening for ever.
    answer.socket.setKeepAlive(true, KEEP_ALIVE_MS)
    return this.#client.bytesOf(answer, request)
  }
}

/** The engine writes a failure midway behind the bytes of the tar, as a line of JSON; a tar ends with zeros. */
async function* withoutFailure(
  answer: AsyncIterable<Uint8Array>,
  what: string,
): AsyncGenerator<Uint8Array, void> {
  let tail = Buffer.alloc(0)
  for await (const chunk of answer) {
    const joined = Buffer.concat([tail, chunk])
    const end = Math.max(0, joined.length - MAX_FAILURE_BYTES)
    if (end > 0) yield joined.subarray(0, end)
    tail = joined.subarray(end)
  }
  const failure = failureAtEnd(tail)
  if (failure !== undefined) throw engineFailed(what, failure)
  if (tail.length > 0) yield tail
}

function failureAtEnd(tail: Buffer): string | undefined {
  const start = tail.lastIndexOf('{"errorDetail"')
  return start < 0 ? undefined : failureIn(parseJson(tail.subarray(start).toString()))
}

async function readLoaded(answer: IncomingMessage): Promise<string[]> {
  const loaded: string[] = []
  for await (const line of readLines(answer, { maxChars: MAX_LINE_CHARS })) {
    const progress = parseJson(line)
    const failure = failureIn(progress)
    if (failure !== undefined) throw engineFailed('load', failure)
    loaded.push(...loadedNames(asRecord(progress)?.['stream']))
  }
  return loaded
}

function loadedNames(text: unknown): string[] {
  const lines = typeof text === 'string' ? text.split('\n') : []
  return lines.flatMap((line) => /^Loaded image(?: ID)?: (\S+)$/.exec(line)?.[1] ?? [])
}

/** Names go into a path: `..` and the like would lead to another request. */
function imagePath(name: string, verb = ''): string {
  const isPath = name.split('/').every((part) => !['', '.', '..'].includes(part))
  if (isPath && IMAGE_NAME.test(name)) return `/images/${name}${verb}`
  throw new OperationError('IMAGE_UNKNOWN', `engine: "${name.slice(0, 100)}" is no image name`)
}
