import { Agent, request, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import { buffer } from 'node:stream/consumers'

export interface HttpAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

interface HttpRequest {
  readonly port: number
  readonly host?: string
  readonly method?: string
  readonly path: string
  readonly headers?: OutgoingHttpHeaders
  readonly agent?: Agent
  readonly socketPath?: string
}

/** One request and its whole answer. Without an agent, on a connection of its own. */
export async function httpRequest({
  host = '127.0.0.1',
  agent,
  headers = {},
  ...rest
}: HttpRequest): Promise<HttpAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>()
  const sent = request({ host, agent: agent ?? new Agent(), headers, ...rest })
  sent.once('error', reject)
  sent.once('response', (response) => {
    buffer(response).then(
      (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      reject,
    )
  })
  sent.end()
  return promise
}
