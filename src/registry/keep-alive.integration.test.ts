import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { test } from 'node:test'

import { openTestnet } from '../testing/testnet.ts'

// Longer than engines keep idle connections: Docker and containerd 30 s, Podman 90 s, BuildKit 120 s. The waiting
// itself is what is tested; the three gaps run side by side.
const GAPS_SECONDS = [25, 60, 125]

test('a connection that was idle for 25, 60 and 125 s is used again without a reset', async () => {
  await using net = await openTestnet()
  const { node } = await net.start('a')
  await Promise.all(
    GAPS_SECONDS.map(async (seconds) => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      const first = await ping(agent, node.ready.registry)
      await pause(seconds * 1000)
      const second = await ping(agent, node.ready.registry)
      assert.deepEqual(second, first, `after ${seconds} s`)
      agent.destroy()
    }),
  )
})

/** `GET /v2/`: the status, and the local port, which is another one on another connection. */
async function ping(agent: Agent, registry: string): Promise<{ status: number; port: number }> {
  const asked = request(`http://${registry}/v2/`, { agent })
  asked.end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  const { statusCode: status = 0, socket } = response
  const port = socket.localPort ?? 0
  response.resume()
  await once(response, 'end')
  return { status, port }
}
