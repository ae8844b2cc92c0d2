/** For tests: one node in a process of its own, driven by discovery.integration.test.ts. */
import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'

import { RendezvousKeys, rendezvousAtInfoHash } from '../membership/rendezvous-key.ts'
import { PUBLIC_SWARM_KEY } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { testSwarmKey } from './dht-testnet.ts'
import { formatPeerAddress } from '../discovery/discovery.ts'
import { parseDiscovery } from '../discovery/discovery-setting.ts'
import { openDiscovery } from '../discovery/open-discovery.ts'

interface Options {
  discovery: string
  isPublic: boolean
  port: number
  stateDir: string
  announce?: string
  find?: string
}

const say = (line: string) => process.stdout.write(`${line}\n`)
const options = JSON.parse(process.argv[2] ?? '{}') as Options
const swarmKeys = new SwarmKeys(options.isPublic ? PUBLIC_SWARM_KEY : testSwarmKey('lan'))
const nodesKey = new RendezvousKeys(swarmKeys).nodes
const settings = parseDiscovery(options.discovery)
const nodeId = randomBytes(32).toString('hex')
await using discovery = await openDiscovery({ ...options, swarmKeys, nodeId, settings })
say('open')

const stopping = new AbortController()
process.once('SIGTERM', () => stopping.abort())
if (options.announce !== undefined) {
  discovery.announce(rendezvousAtInfoHash(options.announce))
  // Long enough for the one lookup and its announces; the interface does not tell.
  await setTimeout(3_000)
  say('announced')
}
const seen = new Set<string>()
let isListed = false
while (!stopping.signal.aborted) {
  const key =
    options.find === 'nodes' ? nodesKey : rendezvousAtInfoHash(options.find ?? '0'.repeat(40))
  for await (const address of discovery.findPeers(key, stopping)) {
    const name = formatPeerAddress(address)
    if (!seen.has(name)) say(`found ${name}`)
    seen.add(name)
  }
  if (!isListed && discovery.stats().mainline?.isListed === true) {
    isListed = true
    say('listed')
  }
  await setTimeout(100, undefined, stopping).catch(() => {})
}
