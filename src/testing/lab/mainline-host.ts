/** A stand-in for mainline on one host of the lab: each of its nodes has an address of its own there. */
import { join } from 'node:path'

import type { KeptItem } from '../plain-mainline.ts'
import { Child, mustRun } from './child.ts'
import type { NetworkHost } from './network.ts'

const CHILD = join(import.meta.dirname, '../plain-mainline-child.ts')
const PORT = 6881
const FIRST_SUFFIX = 100

/** A running mainline. Disposing ends it. */
export interface MainlineHost extends AsyncDisposable {
  /** `host:port`, as `--discovery mainline:host:port` takes it */
  readonly router: string
  /** what all of its nodes keep now, as those who run them see it */
  kept(): Promise<KeptItem[]>
}

/** Starts `nodeCount` nodes (at most 100) that know each other. */
export async function startMainline(host: NetworkHost, nodeCount: number): Promise<MainlineHost> {
  const network = host.address.slice(0, host.address.lastIndexOf('.'))
  const hosts = Array.from(
    { length: nodeCount },
    (_, index) => `${network}.${FIRST_SUFFIX + index}`,
  )
  const commands = hosts.map((address) => `addr add ${address}/32 dev e0`).join('\n')
  await mustRun('ip', ['-batch', '-'], { input: `${commands}\n`, prefix: [...host.prefix] })
  const args = [CHILD, JSON.stringify({ nodeCount, hosts, port: PORT })]
  const child = new Child(process.execPath, args, { name: 'mainline', prefix: host.prefix })
  let asked = 0
  try {
    const [, router = ''] = await child.waitForLine(/^router (.*)$/)
    return {
      router,
      async kept() {
        asked += 1
        child.stdin.write('kept\n')
        const find = () => [...child.stdout.matchAll(/^kept (.*)$\n/gm)][asked - 1]?.[1]
        return parseKept(await child.waitFor(find, { what: 'what is kept' }))
      },
      [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
    }
  } catch (error) {
    await child[Symbol.asyncDispose]()
    throw error
  }
}

/** Bytes come as JSON has them. */
function parseKept(text: string): KeptItem[] {
  return JSON.parse(text, (_key, value: unknown) =>
    isJsonBuffer(value) ? Buffer.from(value.data) : value,
  ) as KeptItem[]
}

function isJsonBuffer(value: unknown): value is { type: 'Buffer'; data: number[] } {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer'
}
