import { readFile } from 'node:fs/promises'
import { getCACertificates } from 'node:tls'

import { OperationError, systemCodeOf } from '../errors.ts'
import { TokenBucket } from '../support/token-bucket.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { AddressGuard, type Lookup } from './address-guard.ts'
import { Authorizations } from './authorizations.ts'
import { DockerCredentials } from './docker-credentials.ts'
import { HttpClient, type HttpTimes } from './http-client.ts'
import { mayReceiveCredential } from './realm-trust.ts'
import { RegistryRequests } from './registry-requests.ts'
import { RegistryUpstream } from './registry-upstream.ts'
import { SteadyClient, type RetryTimes } from './steady-client.ts'
import { requestToken } from './token-service.ts'

export interface UpstreamOptions {
  /** registries over plain HTTP, lower-case `host` or `host:port`; they may be anywhere */
  readonly insecureHosts?: readonly string[]
  /** registries on this host or at link-local addresses that may be asked */
  readonly localHosts?: readonly string[]
  /** PEM: authorities to trust besides the usual ones */
  readonly caFile?: string | undefined
  /** Docker's config.json with this node's logins */
  readonly dockerConfigFile?: string | undefined
  /** for all blobs together */
  readonly bytesPerSecond?: number | undefined
  readonly log?: Log
  readonly times?: Partial<HttpTimes & RetryTimes>
  /** tests: what names mean */
  readonly lookup?: Lookup
  /** tests: where a checked address is really dialled */
  readonly dial?: (address: string) => string
  /** tests: a monotonic clock, milliseconds */
  readonly nowMs?: () => number
}

export const DEFAULT_UPSTREAM_TIMES: HttpTimes & RetryTimes = {
  connectMs: 3000,
  headersMs: 10_000,
  bodyIdleMs: 15_000,
  firstPauseMs: 100,
  lastPauseMs: 1000,
  maxRetryAfterMs: 2000,
}

/**
 * Makes the client of registries. It keeps tokens in memory, writes nothing, and asks nobody before it is asked.
 * @throws OperationError CONFIG_INVALID: the file of authorities cannot be used
 */
export async function openUpstream(options: UpstreamOptions = {}): Promise<RegistryUpstream> {
  const { log = silentLog, lookup, dial, bytesPerSecond } = options
  const { nowMs = () => performance.now() } = options
  const times = { ...DEFAULT_UPSTREAM_TIMES, ...options.times }
  const insecureHosts = lowerCased(options.insecureHosts)
  const namedHosts = new Set([...insecureHosts, ...lowerCased(options.localHosts)])
  const authorities = await readAuthorities(options.caFile)
  const closing = new AbortController()

  const guard = new AddressGuard({ namedHosts, lookup, dial })
  const http = new HttpClient({ guard, times, authorities })
  const client = new SteadyClient({ http, times, nowMs })
  const authorizations = new Authorizations({
    nowMs,
    closing: closing.signal,
    isTrusted: (realm, registry) =>
      mayReceiveCredential(realm, registry, { insecureHosts, namedHosts }),
    requestToken: (question, registry) =>
      requestToken({ ...question, reach: guard.reachFrom(registry) }, { client, guard }),
  })
  const credentials = new DockerCredentials({
    file: options.dockerConfigFile,
    log,
    nowMs,
    closing: closing.signal,
  })
  const requests = new RegistryRequests({
    client,
    guard,
    authorizations,
    nowMs,
    findCredential: (registry, repository, signal) =>
      credentials.find(registry, repository, signal),
  })
  return new RegistryUpstream({
    requests,
    mayLogIn: (registry) => credentials.mayHave(registry),
    insecureHosts,
    bucket: bytesPerSecond === undefined ? undefined : new TokenBucket(bytesPerSecond),
    pauseAfter: (tries, signal) => client.pauseAfter(tries, signal),
    close: async () => {
      closing.abort(new OperationError('UPSTREAM_UNREACHABLE', 'this node is closing'))
      await http[Symbol.asyncDispose]()
    },
  })
}

/** The usual authorities and those of the file; undefined: the usual ones alone. */
async function readAuthorities(file: string | undefined): Promise<string[] | undefined> {
  if (file === undefined) return undefined
  let pem: string
  try {
    pem = await readFile(file, 'utf8')
  } catch (thrown) {
    const code = systemCodeOf(thrown) ?? 'unknown error'
    throw new OperationError('CONFIG_INVALID', `upstream-ca: ${file} cannot be read (${code})`)
  }
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new OperationError('CONFIG_INVALID', `upstream-ca: ${file} holds no PEM certificate`)
  }
  return [...getCACertificates('default'), pem]
}

function lowerCased(hosts: readonly string[] = []): ReadonlySet<string> {
  return new Set(hosts.map((host) => host.toLowerCase()))
}
