import { randomBytes } from 'node:crypto'

import { parseDigest, type Digest } from '../oci/digest.ts'
import { openUpstream, type UpstreamOptions } from '../upstream/open-upstream.ts'
import type { RegistryUpstream } from '../upstream/registry-upstream.ts'
import type { AskOptions, UpstreamIdentity, UpstreamRepository } from '../upstream/upstream.ts'
import { imageManifest, UpstreamServer, type UpstreamServerOptions } from './upstream-server.ts'

interface FixtureOptions {
  readonly server?: UpstreamServerOptions
  /** by the host of the server */
  readonly upstream?: (host: string) => UpstreamOptions
}

/** A registry with one image, `team/app:1`, and a client that may ask it. */
export interface UpstreamFixture extends AsyncDisposable {
  readonly server: UpstreamServer
  readonly upstream: RegistryUpstream
  readonly repository: UpstreamRepository
  readonly layer: Buffer
  readonly layerDigest: Digest
  readonly manifest: Buffer
  readonly manifestDigest: Digest
  /** moves the clock of the client */
  readonly passMs: (ms: number) => void
}

/** Pauses of a test are as short as they can be; what is waited for on a busy machine is not. */
export const QUICK_TIMES: NonNullable<UpstreamOptions['times']> = {
  connectMs: 5000,
  headersMs: 5000,
  bodyIdleMs: 5000,
  firstPauseMs: 1,
  lastPauseMs: 2,
  maxRetryAfterMs: 20,
}

/** For registries that say nothing. */
export const IMPATIENT_TIMES = { ...QUICK_TIMES, headersMs: 200, bodyIdleMs: 200 }

/** Opens both. */
export async function openUpstreamFixture(options: FixtureOptions = {}): Promise<UpstreamFixture> {
  const server = await UpstreamServer.open(options.server)
  const layer = randomBytes(300_000)
  const config = Buffer.from('{"architecture":"amd64","os":"linux"}')
  const manifest = imageManifest(config, layer)
  server.putBlob(config)
  let skippedMs = 0
  const upstream = await openUpstream({
    insecureHosts: [server.host],
    times: QUICK_TIMES,
    nowMs: () => performance.now() + skippedMs,
    ...options.upstream?.(server.host),
  })
  return {
    server,
    upstream,
    repository: { registry: server.host, repository: 'team/app' },
    layer,
    layerDigest: parseDigest(server.putBlob(layer)),
    manifest,
    manifestDigest: parseDigest(server.putManifest('team/app', manifest, { tag: '1' })),
    passMs: (ms) => {
      skippedMs += ms
    },
    [Symbol.asyncDispose]: async () => {
      await upstream[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

/** Whoever asks, within the time of a test. */
export function askAs(identity: UpstreamIdentity = { kind: 'anonymous' }): AskOptions {
  return { identity, signal: AbortSignal.timeout(10_000) }
}

/** The node with its own logins. */
export const NODE: UpstreamIdentity = { kind: 'node' }

/** All bytes of a body. */
export async function collect(content: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of content) chunks.push(chunk)
  return Buffer.concat(chunks)
}
