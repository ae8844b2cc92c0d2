/**
 * A registry's front that goes wrong on purpose. Requests go to a real registry behind it; while a fault is set,
 * those it is for come out wrong in one way.
 *
 *   node ──▶ fault proxy ──▶ registry
 *               └ fault ▶ body-faults.ts    what is wrong with the answer
 */
import { once } from 'node:events'
import { createServer, request as ask, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { SecureContextOptions } from 'node:tls'

import { spoilAnswer, TOKEN_PATH, type Fault, type FaultyAnswer } from './faulty-answers.ts'

/** One request that came to the proxy. */
export interface ProxiedRequest {
  readonly method: string
  readonly what: 'ping' | 'manifest' | 'blob' | 'other'
  /** tag or digest */
  readonly reference: string
  readonly url: string
  readonly range: string | undefined
  readonly authorization: string | undefined
}

/** A running proxy. */
export interface FaultProxy extends AsyncDisposable {
  /** `127.0.0.1:port`, the same for ever */
  readonly address: string
  /** all requests so far, oldest first */
  readonly requests: readonly ProxiedRequest[]
  /** How many of them were like this. */
  count(like: Partial<ProxiedRequest>): number
  /** From now on requests go wrong like this; undefined mends everything. Open connections end. */
  set(fault: Fault | undefined): Promise<void>
}

/** The certificate that clients trust, and the one that is shown while the fault is `untrusted`. */
export interface ProxyCertificates {
  readonly trusted: SecureContextOptions
  readonly untrusted: SecureContextOptions
}

interface FaultProxyOptions {
  /** `host:port` of the registry, over plain HTTP */
  readonly target: string
  /** address to listen at, 127.0.0.1 by default */
  readonly host?: string
  readonly tls?: ProxyCertificates
}

/** Opens a proxy without a fault, on a free port. */
export async function openFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const { target, host = '127.0.0.1', tls } = options
  const requests: ProxiedRequest[] = []
  let fault: Fault | undefined
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const seen = describe(request)
    requests.push(seen)
    forward({ target, request, response, fault: hits(seen, fault) ? fault : undefined }).catch(() =>
      response.destroy(),
    )
  }
  const tlsServer = tls && createTlsServer(tls.trusted, onRequest)
  const server = tlsServer ?? createServer(onRequest)
  const port = await listenAt(server, 0, host)
  return {
    address: `${host}:${port}`,
    requests,
    count: (like) => requests.filter((request) => matches(request, like)).length,
    async set(next) {
      fault = next
      if (tls) tlsServer?.setSecureContext(next?.kind === 'untrusted' ? tls.untrusted : tls.trusted)
      server.closeAllConnections()
      if (next?.kind === 'refused') await close(server)
      else if (!server.listening) await listenAt(server, port, host)
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      if (server.listening) await close(server)
    },
  }
}

type Listener = ReturnType<typeof createServer> | ReturnType<typeof createTlsServer>

async function listenAt(server: Listener, port: number, host: string): Promise<number> {
  server.listen(port, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function close(server: Listener): Promise<void> {
  server.close()
  await once(server, 'close')
}

function matches(request: ProxiedRequest, like: Partial<ProxiedRequest>): boolean {
  return Object.entries(like).every(
    ([name, value]) => request[name as keyof ProxiedRequest] === value,
  )
}

function hits({ what, url }: ProxiedRequest, fault: Fault | undefined): boolean {
  if (!fault) return false
  return fault.on === 'all' || `${what}s` === fault.on || url.startsWith(TOKEN_PATH)
}

function describe({ method = '', url = '', headers }: IncomingMessage): ProxiedRequest {
  const [, kind, reference = ''] =
    /^\/v2\/.+\/(manifests|blobs)\/([^/?]+)(?:\?.*)?$/.exec(url) ?? []
  const isPing = /^\/v2\/?(?:\?.*)?$/.test(url)
  const what =
    kind === 'manifests' ? 'manifest' : kind === 'blobs' ? 'blob' : isPing ? 'ping' : 'other'
  return {
    method,
    what,
    reference: decodeURIComponent(reference),
    url,
    range: headers.range,
    authorization: headers.authorization,
  }
}

async function forward(options: {
  target: string
  request: IncomingMessage
  response: ServerResponse
  fault: Fault | undefined
}): Promise<void> {
  const { target, request, response, fault } = options
  // What goes wrong with the body goes wrong with its length too: a HEAD must know of it.
  const answer = await askTarget(target, request, fault ? 'GET' : request.method)
  if (fault) {
    await spoilAnswer({ fault, request, response, answer: await readAnswer(answer) })
    return
  }
  response.writeHead(answer.statusCode ?? 0, ownHeaders(answer))
  await pipeline(answer, response)
}

async function askTarget(
  target: string,
  request: IncomingMessage,
  method: string | undefined,
): Promise<IncomingMessage> {
  const { url: path, headers } = request
  const [host, port] = target.split(':')
  const { host: _, connection: __, ...passed } = headers
  const sent = ask({ host, port, method, path, headers: passed, agent: false })
  request.pipe(sent)
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  return answer
}

async function readAnswer(answer: IncomingMessage): Promise<FaultyAnswer> {
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  return {
    status: answer.statusCode ?? 0,
    headers: ownHeaders(answer),
    body: Buffer.concat(chunks),
  }
}

/** Without those that are of one connection (RFC 9110, 7.6.1). */
function ownHeaders({ headers }: IncomingMessage): IncomingMessage['headers'] {
  const { 'transfer-encoding': _, connection: __, 'keep-alive': ___, ...own } = headers
  return own
}
