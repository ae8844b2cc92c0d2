import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

import { OperationError, systemCodeOf } from '../errors.ts'
import { DrainableServer, type ServerOptions } from './drainable-server.ts'

/** A server that answers until it is drained. */
export interface HttpServer extends AsyncDisposable {
  /** where it answers, such as `127.0.0.1:5151` and `[::1]:5151`, or the path of a socket */
  readonly addresses: readonly string[]
  /** the same on all addresses; 0 with a socket */
  readonly port: number
  /** Stops accepting; responses under way have `timeoutMs` (10 s) to finish. Idempotent. */
  drain(options?: { timeoutMs?: number }): Promise<void>
}

const DEFAULT_DRAIN_MS = 10_000
const MAX_PORT_ATTEMPTS = 20
const IPV6_LOOPBACK = '::1'

/**
 * Answers HTTP on an address. `127.0.0.1` and `localhost` bring `[::1]` with them where it is present, with the
 * same port, since a client may resolve localhost to either. Port 0 picks one that is free on all of them.
 * @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE: nothing stays bound
 */
export async function listen(
  listener: RequestListener,
  { host, port }: { host: string; port: number },
  options: ServerOptions = {},
): Promise<HttpServer> {
  const open = () => new DrainableServer(listener, options)
  const isLoopback = host === '127.0.0.1' || host === 'localhost'
  const first = isLoopback ? '127.0.0.1' : host.replace(/^\[(.*)\]$/, '$1')
  for (let attempt = 1; ; attempt += 1) {
    const server = open()
    const bound = await bind(server, first, port)
    if (!isLoopback) return asHttpServer([server], [bound])
    const twin = open()
    try {
      const boundTwin = await bindIfPresent(twin, IPV6_LOOPBACK, bound.port)
      return boundTwin
        ? asHttpServer([server, twin], [bound, boundTwin])
        : asHttpServer([server], [bound])
    } catch (error) {
      await server.drain(0)
      const mayPickAnother = port === 0 && attempt < MAX_PORT_ATTEMPTS
      if (!mayPickAnother) throw error
    }
  }
}

/** The server made of one part for every address. */
export function asHttpServer(
  parts: readonly DrainableServer[],
  bound: readonly (AddressInfo | string)[],
): HttpServer {
  const drain = async ({ timeoutMs = DEFAULT_DRAIN_MS } = {}) => {
    await Promise.all(parts.map((part) => part.drain(timeoutMs)))
  }
  const [first] = bound
  return {
    addresses: bound.map((where) => (typeof where === 'string' ? where : formatAddress(where))),
    port: typeof first === 'object' ? first.port : 0,
    drain,
    [Symbol.asyncDispose]: () => drain(),
  }
}

async function bindIfPresent(
  server: DrainableServer,
  host: string,
  port: number,
): Promise<AddressInfo | undefined> {
  try {
    return await bind(server, host, port)
  } catch (error) {
    if (error instanceof OperationError && error.code === 'ADDRESS_UNUSABLE') return undefined
    throw error
  }
}

async function bind(server: DrainableServer, host: string, port: number): Promise<AddressInfo> {
  try {
    // Never null and never a path: a host and a port were asked for.
    return (await server.start({ host, port })) as AddressInfo
  } catch (cause) {
    throw bindFailure(cause, formatAddress({ address: host, port }))
  }
}

function bindFailure(cause: unknown, where: string): unknown {
  const code = systemCodeOf(cause)
  if (code === undefined) return cause
  const details = { address: where, systemCode: code }
  return code === 'EADDRINUSE'
    ? new OperationError('PORT_IN_USE', `wanted to listen on ${where}, found it in use`, {
        cause,
        details,
      })
    : new OperationError('ADDRESS_UNUSABLE', `wanted to listen on ${where}, found ${code}`, {
        cause,
        details,
      })
}

function formatAddress({ address, port }: Pick<AddressInfo, 'address' | 'port'>): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
