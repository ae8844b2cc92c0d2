import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { swarmIdOf, writeSwarmKey, type SwarmKey } from '../membership/swarm-key.ts'
import type { Invocation } from './command.ts'
import { DemoNode } from './demo-node.ts'

/** Where the demo plays: a folder, a swarm key, and the nodes that were started. All goes with it. */
export class DemoStage implements AsyncDisposable {
  readonly folder: string
  readonly swarmId: string
  readonly #invocation: Invocation
  readonly #swarmKeyFile: string
  /** settled or not: a start that is under way at the end is waited for, and ended too */
  readonly #starts = new Set<Promise<DemoNode>>()

  private constructor(invocation: Invocation, folder: string, key: SwarmKey) {
    this.folder = folder
    this.swarmId = swarmIdOf(key)
    this.#invocation = invocation
    this.#swarmKeyFile = keyFileIn(folder)
  }

  static async open(invocation: Invocation): Promise<DemoStage> {
    const folder = await mkdtemp(join(tmpdir(), 'ddocker-demo-'))
    const key = randomBytes(32) as SwarmKey
    await writeSwarmKey(keyFileIn(folder), key)
    return new DemoStage(invocation, folder, key)
  }

  /** @param options.meets nodes to bootstrap from: loopback addresses, nobody else is asked */
  start(
    name: string,
    { meets, uploadLimit }: { meets: readonly DemoNode[]; uploadLimit: number },
  ): Promise<DemoNode> {
    const { host, signal } = this.#invocation
    const known = meets.map(({ ready }) => `bootstrap:127.0.0.1:${ready.peerPort}`)
    const started = DemoNode.start({
      name,
      folder: this.folder,
      swarmKeyFile: this.#swarmKeyFile,
      discovery: known.length === 0 ? 'none' : known.join(','),
      uploadLimit,
      environment: host.environment,
      signal,
    })
    this.#starts.add(started)
    return started
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const starts = await Promise.allSettled(this.#starts)
    for (const start of starts) {
      if (start.status === 'fulfilled') await start.value[Symbol.asyncDispose]()
    }
    await rm(this.folder, { recursive: true, force: true })
  }
}

function keyFileIn(folder: string): string {
  return join(folder, 'swarm.key')
}
