import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { Config } from '../config/options.ts'
import type { Operation } from '../control/control-protocol.ts'
import { openNode, type RunningNode } from '../node.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { silentLog, type Log } from '../telemetry/log.ts'
import { tempDir } from './temp-dir.ts'

/** A node of a test swarm, in this process. */
export interface TestNode {
  readonly node: RunningNode
  readonly dataDir: string
  /** the answer of an operation, with nobody watching */
  run<Request, Result>(operation: Operation<Request, Result>, request: Request): Promise<Result>
  /** a request to its registry door or its other pages */
  get(path: string, init?: RequestInit): Promise<Response>
  stop(): Promise<void>
}

/** A private swarm on loopback: nodes find each other through the first one's DHT. */
export interface Testnet extends AsyncDisposable {
  readonly dir: string
  readonly swarmKey: string
  readonly swarmKeyFile: string
  /** Starts one more node; with the name of one that was stopped, that one again. */
  start(nodeName: string, config?: Partial<Config>): Promise<TestNode>
}

/** Opens an empty swarm; everything it makes goes when it is disposed. */
export async function openTestnet({
  log = silentLog,
  keySettleMs = KEY_SETTLE_MS,
}: { log?: Log; keySettleMs?: number } = {}): Promise<Testnet> {
  await using resources = new AsyncDisposableStack()
  const dir = resources.use(await tempDir()).path
  const swarmKey = randomBytes(32).toString('hex')
  const swarmKeyFile = join(dir, 'swarm.key')
  await writeFile(swarmKeyFile, swarmKey)
  const ports = new Map<string, number>()
  const opened = resources.move()
  return {
    dir,
    swarmKey,
    swarmKeyFile,
    async start(nodeName, config = {}) {
      const dataDir = join(dir, nodeName)
      const [first] = ports.values()
      const discovery = first === undefined ? ['none'] : [`bootstrap:127.0.0.1:${first}`]
      const peerPort = ports.get(nodeName) ?? 0
      const node = await openNode(
        { ...QUIET, nodeName, dataDir, swarmKeyFile, discovery, peerPort, ...config },
        { log, keySettleMs },
      )
      ports.set(nodeName, node.ready.peerPort)
      opened.use(node)
      return asTestNode(node, dataDir)
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

// As on a real swarm, but shorter: on loopback all are told within milliseconds.
const KEY_SETTLE_MS = 400

const QUIET: Omit<Config, 'nodeName' | 'dataDir' | 'discovery' | 'swarmKeyFile' | 'peerPort'> = {
  registry: { host: '127.0.0.1', port: 0 },
  peerHost: '127.0.0.1',
  swarm: 'closed',
  publicPort: 0,
  publicDiscovery: ['none'],
  dockerHost: 'none',
  upstream: false,
  insecureUpstreams: [],
  localUpstreams: [],
  upstreamCaFile: undefined,
  dockerConfigFile: undefined,
  passCredentials: [],
  accessLifetimeMs: 600_000,
  tagFreshness: [],
  offlineTags: true,
  maxPushBytes: 1024 ** 3,
  maxDiskBytes: undefined,
  uploadBytesPerSecond: undefined,
  downloadBytesPerSecond: undefined,
  upstreamBytesPerSecond: undefined,
  logLevel: 'silent',
}

function asTestNode(node: RunningNode, dataDir: string): TestNode {
  return {
    node,
    dataDir,
    run: (operation, request) =>
      operation(request, { signal: new AbortController().signal, report: () => {} }),
    get: (path, init) => fetch(`http://${node.ready.registry}${path}`, init),
    stop: async () => node[Symbol.asyncDispose](),
  }
}

/** What a node of that name is opened with, but for how it finds others. */
export function configOf({ dir, swarmKeyFile }: Testnet, nodeName: string): Config {
  const dataDir = join(dir, nodeName)
  return { ...QUIET, nodeName, dataDir, swarmKeyFile, discovery: ['none'], peerPort: 0 }
}

/** An image as an OCI layout folder. */
export interface LayoutFixture {
  readonly path: string
  readonly manifest: Digest
  readonly config: Digest
  readonly layers: readonly { readonly digest: Digest; readonly bytes: Buffer }[]
}

/** Writes an OCI layout of random layers of these sizes, in bytes. They are no tars: no engine is to load it. */
export async function writeLayout(
  path: string,
  layerSizes: readonly number[],
): Promise<LayoutFixture> {
  const folder = join(path, 'blobs/sha256')
  await mkdir(folder, { recursive: true })
  const put = async (bytes: Buffer) => {
    const digest = digestOf(bytes)
    await writeFile(join(folder, digest.slice('sha256:'.length)), bytes)
    return { digest, size: bytes.length }
  }
  const layers = layerSizes.map((size) => {
    const bytes = randomBytes(size)
    return { digest: digestOf(bytes), bytes }
  })
  for (const { bytes } of layers) await put(bytes)
  const config = await put(
    Buffer.from(
      JSON.stringify({
        architecture: 'amd64',
        os: 'linux',
        config: {},
        rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
      }),
    ),
  )
  const manifest = await put(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.ociManifest,
        config: { mediaType: MEDIA_TYPES.ociConfig, ...config },
        layers: layers.map(({ digest, bytes }) => ({
          mediaType: MEDIA_TYPES.ociLayerGzip,
          digest,
          size: bytes.length,
        })),
      }),
    ),
  )
  await writeFile(
    join(path, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ mediaType: MEDIA_TYPES.ociManifest, ...manifest }],
    }),
  )
  await writeFile(join(path, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  return { path, manifest: manifest.digest, config: config.digest, layers }
}
