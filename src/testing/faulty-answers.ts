/** What can be wrong with a registry's answer; one function for each kind. */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'

/** The whole of a right answer. */
export interface FaultyAnswer {
  readonly status: number
  readonly headers: OutgoingHttpHeaders
  readonly body: Buffer
}

/** How requests go wrong, and which. */
export interface Fault {
  readonly kind: FaultKind
  readonly on: 'blobs' | 'manifests' | 'all'
  /** where in the body, 0 to 1; half way by default */
  readonly share?: number
  /** for `slow`; 64 KiB by default */
  readonly bytesPerSecond?: number
  /** for `throttled`; 1 by default */
  readonly retryAfterSeconds?: number
  /** for `redirect`: an absolute URL, to which the path is added */
  readonly location?: string
}

export type FaultKind = keyof typeof KINDS

interface Spoiling {
  readonly fault: Fault
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly answer: FaultyAnswer
}

type Spoiler = (spoiling: Spoiling) => void | Promise<void>

/** Where the token server of `unauthorized-bearer` answers. */
export const TOKEN_PATH = '/token'

const TICK_MS = 100
const SURPLUS_BYTES = 4096
const WHOLE = 'bytes=0-'
const OTHER_DIGEST = `sha256:${'0'.repeat(64)}`

const KINDS = {
  /** nobody listens; the proxy sees to it, this only catches what was under way */
  refused: ({ response }) => void response.destroy(),
  /** another certificate; likewise */
  untrusted: ({ response }) => void response.destroy(),
  /** the request is taken, and nothing ever comes */
  silent: () => {},
  /** the headers and a part of the body come, and then nothing */
  stalled: ({ fault, response, answer }) => {
    response.writeHead(answer.status, answer.headers)
    response.flushHeaders()
    response.write(answer.body.subarray(0, placeIn(answer.body, fault)))
  },
  slow: sendSlowly,
  'unauthorized-basic': ({ response }) => {
    refuse(response, 401, { 'WWW-Authenticate': 'Basic realm="closed"' })
  },
  /** a token server that hands out tokens, none of which helps */
  'unauthorized-bearer': ({ request, response }) => {
    const realm = `http://${request.headers.host ?? ''}${TOKEN_PATH}`
    const challenge = `Bearer realm="${realm}",service="closed",scope="repository:x:pull"`
    refuse(response, 401, { 'WWW-Authenticate': challenge })
  },
  /** a 401 that does not say how to log in */
  'unauthorized-bare': ({ response }) => refuse(response, 401),
  forbidden: ({ response }) => refuse(response, 403),
  missing: ({ response }) => refuse(response, 404),
  throttled: ({ fault, response }) => {
    refuse(response, 429, { 'Retry-After': fault.retryAfterSeconds ?? 1 })
  },
  'server-error': ({ response }) => refuse(response, 500),
  'bad-gateway': ({ response }) => refuse(response, 502),
  unavailable: ({ response }) => refuse(response, 503),
  /** a body that ends early, by FIN */
  cut: ({ fault, response, answer }) => {
    response.writeHead(answer.status, answer.headers)
    sendAndEnd(response, answer.body.subarray(0, placeIn(answer.body, fault)))
  },
  /** a body that ends early, by a reset */
  reset: async ({ fault, response, answer }) => {
    response.writeHead(answer.status, answer.headers)
    response.flushHeaders()
    response.write(answer.body.subarray(0, placeIn(answer.body, fault)))
    await delay(TICK_MS)
    response.socket?.resetAndDestroy()
  },
  'length-too-short': ({ fault, response, answer }) => {
    const length = placeIn(answer.body, fault)
    response.writeHead(answer.status, { ...answer.headers, 'content-length': length })
    response.end(answer.body.subarray(0, length))
  },
  /** fewer bytes are promised than come */
  'length-below-body': ({ fault, response, answer }) => {
    const length = placeIn(answer.body, fault)
    response.writeHead(answer.status, { ...answer.headers, 'content-length': length })
    sendAndEnd(response, answer.body)
  },
  'length-too-long': ({ response, answer }) => {
    const length = answer.body.length + SURPLUS_BYTES
    response.writeHead(answer.status, { ...answer.headers, 'content-length': length })
    sendAndEnd(response, answer.body)
  },
  /** more bytes than the blob has, and as many as are promised */
  surplus: ({ response, answer }) => {
    const body = Buffer.concat([answer.body, Buffer.alloc(SURPLUS_BYTES, 1)])
    sendBody(response, answer, body)
  },
  'wrong-bytes': ({ fault, response, answer }) => {
    const body = Buffer.from(answer.body)
    const place = Math.max(0, placeIn(body, fault) - 1)
    body[place] = (body[place] ?? 0) ^ 1
    sendBody(response, answer, body)
  },
  /** a page of a proxy that wants somebody to log in */
  'html-page': ({ response, answer }) => {
    const headers = { ...answer.headers, 'content-type': 'text/html' }
    sendBody(response, { status: 200, headers, body: answer.body }, Buffer.from('<h1>Log in</h1>'))
  },
  empty: ({ response, answer }) => sendBody(response, answer, Buffer.alloc(0)),
  'wrong-digest-header': ({ response, answer }) => {
    const headers = { ...answer.headers, 'docker-content-digest': OTHER_DIGEST }
    sendBody(response, { ...answer, headers }, answer.body)
  },
  'wrong-content-type': ({ response, answer }) => {
    const headers = { ...answer.headers, 'content-type': 'text/html; charset=utf-8' }
    sendBody(response, { ...answer, headers }, answer.body)
  },
  redirect: ({ fault, request, response }) => {
    refuse(response, 307, { Location: `${fault.location ?? ''}${request.url ?? ''}` })
  },
  'redirect-loop': ({ request, response }) => {
    refuse(response, 307, { Location: request.url ?? '/' })
  },
  /** what a TLS server, or no HTTP server at all, sends to a plain request */
  garbage: ({ response }) => {
    response.socket?.end(Buffer.from([0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x0a]))
  },
  gzip: ({ response, answer }) => {
    const headers = { ...answer.headers, 'content-encoding': 'gzip' }
    sendBody(response, { ...answer, headers }, gzipSync(answer.body))
  },
  /** no Content-Length: nothing is wrong with that, but that nobody knows how much comes */
  chunked: ({ response, answer }) => {
    const { 'content-length': _, ...headers } = answer.headers
    response.writeHead(answer.status, headers)
    response.write(answer.body.subarray(0, 1000))
    response.end(answer.body.subarray(1000))
  },
  'chunked-and-cut': ({ fault, response, answer }) => {
    const { 'content-length': _, ...headers } = answer.headers
    response.writeHead(answer.status, headers)
    response.end(answer.body.subarray(0, placeIn(answer.body, fault)))
  },
  /** a 206 to a request without a Range */
  'unasked-range': ({ fault, response, answer }) => {
    const length = placeIn(answer.body, fault)
    const size = answer.body.length
    const headers = { ...answer.headers, 'content-range': `bytes 0-${length - 1}/${size}` }
    sendBody(response, { ...answer, status: 206, headers }, answer.body.subarray(0, length))
  },
  /** the body is cut, and what follows on the Range is of another place, and says so */
  'other-range': cutThenAnswerRange(({ response, answer }) => {
    const range = contentRangeOf(answer)
    const headers = {
      ...answer.headers,
      'content-range': `bytes 0-${answer.body.length - 1}/${range.size}`,
    }
    sendBody(response, { ...answer, headers }, answer.body)
  }),
  /** the same, but it says that it is what was asked for */
  'lying-range': cutThenAnswerRange(({ response, answer }) => {
    sendBody(response, answer, Buffer.alloc(answer.body.length, 7))
  }),
} as const satisfies Record<string, Spoiler>

/** All kinds of fault. */
export const FAULT_KINDS = Object.keys(KINDS) as readonly FaultKind[]

/** Sends a right answer in a wrong way. */
export async function spoilAnswer(spoiling: Spoiling): Promise<void> {
  const isToken = spoiling.request.url?.startsWith(TOKEN_PATH) === true
  if (isToken) {
    const body = Buffer.from(JSON.stringify({ token: 'helps-nobody' }))
    sendBody(spoiling.response, { status: 200, headers: { 'content-type': JSON_TYPE }, body }, body)
    return
  }
  const spoil: Spoiler = KINDS[spoiling.fault.kind]
  await spoil(spoiling)
}

const JSON_TYPE = 'application/json'

async function sendSlowly({ fault, request, response, answer }: Spoiling): Promise<void> {
  response.writeHead(answer.status, answer.headers)
  response.flushHeaders()
  if (request.method === 'HEAD') {
    response.end()
    return
  }
  const step = Math.max(1, Math.round(((fault.bytesPerSecond ?? 65_536) * TICK_MS) / 1000))
  for (let start = 0; start < answer.body.length; start += step) {
    if (response.destroyed) return
    response.write(answer.body.subarray(start, start + step))
    await delay(TICK_MS)
  }
  response.end()
}

function cutThenAnswerRange(answerRange: Spoiler): Spoiler {
  return async (spoiling) => {
    const { range = WHOLE } = spoiling.request.headers
    await (range.startsWith(WHOLE) ? KINDS.cut(spoiling) : answerRange(spoiling))
  }
}

function contentRangeOf({ headers, body }: FaultyAnswer): { size: number } {
  const size = /\/(\d+)$/.exec(String(headers['content-range']))?.[1]
  return { size: Number(size ?? body.length) }
}

/** A place inside of a body: neither its start nor its end, where it has more than one byte. */
function placeIn(body: Buffer, { share = 0.5 }: Fault): number {
  return Math.max(1, Math.min(body.length - 1, Math.floor(body.length * share)))
}

function sendBody(response: ServerResponse, answer: FaultyAnswer, body: Buffer): void {
  response.writeHead(answer.status, { ...answer.headers, 'content-length': body.length })
  response.end(body)
}

function refuse(response: ServerResponse, status: number, headers: OutgoingHttpHeaders = {}): void {
  const body = JSON.stringify({ errors: [{ code: 'UNKNOWN', message: `status ${status}` }] })
  response.writeHead(status, {
    'Content-Type': JSON_TYPE,
    'Content-Length': Buffer.byteLength(body),
    ...headers,
  })
  response.end(body)
}

/** These bytes of the body and then FIN, whatever was promised. */
function sendAndEnd(response: ServerResponse, bytes: Buffer): void {
  response.flushHeaders()
  response.write(bytes)
  response.socket?.end()
}
