/** What it takes to set up a connection between two members: event loops and processor, both ends apart. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'

import { makeNodeIdentity } from '../src/membership/node-identity.ts'
import type { SwarmKey } from '../src/membership/swarm-key.ts'
import { SwarmKeys } from '../src/membership/swarm-keys.ts'
import { memberSecrets } from '../src/peering/channel-secret.ts'
import { SecureChannel } from '../src/peering/secure-channel.ts'

/** Which connections are set up. */
export interface HandshakeSetting {
  readonly swarmKey: Uint8Array
  readonly isEncrypted: boolean
}

/** What one end spent. */
export interface Spent {
  /** in which its event loop was busy */
  readonly loopMs: number
  readonly processorMs: number
}

/** For one connection, on the average. */
export interface HandshakeCost {
  readonly dialing: Spent
  readonly accepting: Spent
}

const WARM_UP = 20

/** How busy the event loop of this thread is. */
export class LoopWatch {
  #loop = performance.eventLoopUtilization()
  #processor = process.threadCpuUsage()

  begin(): void {
    this.#loop = performance.eventLoopUtilization()
    this.#processor = process.threadCpuUsage()
  }

  get spent(): Spent {
    const { user, system } = process.threadCpuUsage(this.#processor)
    const { active } = performance.eventLoopUtilization(this.#loop)
    return { loopMs: active, processorMs: (user + system) / 1000 }
  }
}

/** One end of a closed swarm. */
export function openChannel(swarmKey: Uint8Array): SecureChannel {
  const secrets = memberSecrets(new SwarmKeys(Buffer.from(swarmKey) as SwarmKey))
  return new SecureChannel({ secrets, identity: makeNodeIdentity() })
}

/** Sets up `count` connections on loopback, one after the other, until each may be written to. */
export async function measureHandshakes(
  setting: HandshakeSetting,
  count: number,
): Promise<HandshakeCost> {
  const acceptor = new Worker(join(import.meta.dirname, 'handshake-acceptor.ts'), {
    workerData: setting,
  })
  const [port] = (await once(acceptor, 'message')) as [number]
  const dial = dialer(setting, port)
  for (let made = 0; made < WARM_UP; made += 1) await dial()
  const watch = new LoopWatch()
  acceptor.postMessage('begin', [])
  watch.begin()
  for (let made = 0; made < count; made += 1) await dial()
  const dialing = watch.spent
  acceptor.postMessage('end', [])
  const [accepting] = (await once(acceptor, 'message')) as [Spent]
  await acceptor.terminate()
  return { dialing: perOne(dialing, count), accepting: perOne(accepting, count) }
}

function dialer({ swarmKey, isEncrypted }: HandshakeSetting, port: number): () => Promise<void> {
  const channel = isEncrypted ? openChannel(swarmKey) : undefined
  const to = { host: '127.0.0.1', port }
  return async () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onReady = (error?: Error) => (error ? reject(error) : resolve())
    const socket: Socket = channel ? channel.dial(to, onReady) : connect(to, onReady)
    socket.once('error', reject)
    await promise
    socket.destroy()
  }
}

function perOne({ loopMs, processorMs }: Spent, count: number): Spent {
  return { loopMs: loopMs / count, processorMs: processorMs / count }
}
