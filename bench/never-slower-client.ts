/**
 * An engine-like client in a host of its own: the manifest by its tag (HEAD, then GET), then the config and the
 * layers, three at a time, over connections that are kept. Its other half runs below, driven by lines.
 */
import { Agent, get, request, type IncomingMessage } from 'node:http'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

import { mapConcurrently } from '../src/support/concurrency.ts'
import { Child } from '../src/testing/lab/child.ts'
import type { NetworkHost } from '../src/testing/lab/network.ts'

/** What to pull, from where. */
export interface ClientPull {
  /** `host:port` of a node's door or of a registry */
  readonly door: string
  readonly repository: string
  readonly tag: string
  /** the registry that is meant, for a door */
  readonly ns?: string
}

const BLOBS_AT_ONCE = 3
const ACCEPT = { Accept: 'application/vnd.oci.image.manifest.v1+json, */*' }

/** The process in the host. */
export class PullClient implements AsyncDisposable {
  readonly #child: Child
  #pulls = 0

  private constructor(child: Child) {
    this.#child = child
  }

  static async open(host: NetworkHost): Promise<PullClient> {
    const child = new Child(process.execPath, [import.meta.filename], { prefix: host.prefix })
    await child.waitForLine(/^ready$/)
    return new PullClient(child)
  }

  /** Seconds of a pull. */
  async pull(what: ClientPull): Promise<number> {
    this.#pulls += 1
    const wanted = this.#pulls
    this.#child.stdin.write(`${JSON.stringify(what)}\n`)
    const found = () => [...this.#child.stdout.matchAll(/^pulled (\S+)$/gm)][wanted - 1]
    return Number((await this.#child.waitFor(found, { what: 'a pull' }))[1])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.kill()
  }
}

async function timePull({ door, repository, tag, ns }: ClientPull): Promise<number> {
  const agent = new Agent({ keepAlive: true })
  const query = ns === undefined ? '' : `?ns=${ns}`
  const url = (rest: string) => `http://${door}/v2/${repository}/${rest}${query}`
  const startedMs = performance.now()
  await headOf(url(`manifests/${tag}`), agent)
  const manifest = await bodyOf(url(`manifests/${tag}`), agent)
  const { config, layers } = JSON.parse(manifest.toString()) as Manifest
  await mapConcurrently([config, ...layers], BLOBS_AT_ONCE, async ({ digest, size }) => {
    const { length } = await bodyOf(url(`blobs/${digest}`), agent)
    if (length !== size) throw new Error(`${digest}: wanted ${size} bytes, got ${length}`)
  })
  const seconds = (performance.now() - startedMs) / 1000
  agent.destroy()
  return seconds
}

interface Manifest {
  readonly config: Content
  readonly layers: readonly Content[]
}

interface Content {
  readonly digest: string
  readonly size: number
}

async function headOf(url: string, agent: Agent): Promise<void> {
  const asked = request(url, { method: 'HEAD', agent, headers: ACCEPT })
  asked.end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  answer.resume()
  if (answer.statusCode !== 200) throw new Error(`${url}: ${answer.statusCode}`)
}

async function bodyOf(url: string, agent: Agent): Promise<Buffer> {
  const [answer] = (await once(get(url, { agent, headers: ACCEPT }), 'response')) as [
    IncomingMessage,
  ]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  if (answer.statusCode !== 200) throw new Error(`${url}: ${answer.statusCode}`)
  return Buffer.concat(chunks)
}

if (import.meta.main) {
  process.stdout.write('ready\n')
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`pulled ${await timePull(JSON.parse(line) as ClientPull)}\n`)
  }
}
