import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'

import { startDhtNodes } from '../testing/lab/bittorrent-clients.ts'
import { Child } from '../testing/lab/child.ts'
import { requireLab } from '../testing/lab/lab-requirements.ts'
import { hostAt, openNetwork, type NetworkHost } from '../testing/lab/network.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { testKey, until } from '../testing/dht-testnet.ts'

const NODE = join(import.meta.dirname, '../testing/discovery-child.ts')
const PORT = 6881
const key = testKey('image')

interface NodeOptions {
  discovery: string
  stateDir: string
  isPublic?: boolean
  announce?: string
  find?: string
}

/** A node in a host of its own; it prints every address that it finds at the key `find`. */
function startNode(host: NetworkHost, options: NodeOptions): Child {
  const args = [NODE, JSON.stringify({ port: PORT, isPublic: false, ...options })]
  return new Child(process.execPath, args, { name: `node of ${host.address}`, prefix: host.prefix })
}

test('hosts of one LAN find each other by multicast alone, over both families', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 3 })
  const [a, b, c] = [hostAt(network, 0), hostAt(network, 1), hostAt(network, 2)]
  for (const host of network.hosts) await until(() => hasIPv6(host))
  const discovery = 'lan'
  await using first = startNode(a, { discovery, stateDir: `${dir.path}/a`, announce: key })
  await first.waitForLine(/^open$/)
  await using second = startNode(b, { discovery, stateDir: `${dir.path}/b`, find: key })
  await second.waitForLine(new RegExp(`^found ${a.address}:${PORT}$`))
  await using third = startNode(c, { discovery, stateDir: `${dir.path}/c`, find: 'nodes' })
  for (const { address } of [a, b])
    await third.waitForLine(new RegExp(`^found ${address}:${PORT}$`))
  await third.waitForLine(/^found \[fe80::[^\]]+%e0\]:6881$/)
})

test('in the open swarm our nodes meet through nodes of libtorrent', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'libtorrent'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 3 })
  const [foreign, a, b] = [hostAt(network, 0), hostAt(network, 1), hostAt(network, 2)]
  await using dht = await startDhtNodes({ host: foreign, port: 7000, count: 12 })
  const shared = { discovery: `bootstrap:${dht.bootstrap}`, isPublic: true }
  await using holder = startNode(a, { ...shared, stateDir: `${dir.path}/a`, announce: key })
  await holder.waitForLine(/^announced$/)
  await holder.stop()
  // The holder is gone: only the nodes of libtorrent can know of it.
  await using seeker = startNode(b, { ...shared, stateDir: `${dir.path}/b`, find: key })
  const [, found] = await seeker.waitForLine(/^found (.*)$/)
  assert.equal(found, `${a.address}:${PORT}`)
})

test('members of a closed swarm meet by an item that nodes of libtorrent keep', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'libtorrent'])) return
  await using dir = await tempDir()
  await using network = await openNetwork({ hostCount: 4 })
  const [foreign, ...hosts] = [0, 1, 2, 3].map((index) => hostAt(network, index))
  assert.ok(foreign)
  await using dht = await startDhtNodes({ host: foreign, port: 7000, count: 12 })
  const discovery = `mainline:${dht.bootstrap}`
  const gone = []
  for (const [index, host] of hosts.entries()) {
    const options = { discovery, stateDir: `${dir.path}/${index}`, find: 'nodes' }
    await using member = startNode(host, options)
    // Those before are gone: only the nodes of libtorrent can know of them.
    for (const each of gone) await member.waitForLine(new RegExp(`^found ${each.address}:${PORT}$`))
    await member.waitForLine(/^listed$/)
    gone.push(host)
  }
})

/** The kernel takes a second or two to make sure that nobody else has the address (RFC 4862). */
async function hasIPv6(host: NetworkHost): Promise<boolean> {
  const { stdout } = await host.run('ip', ['-6', 'addr', 'show', 'dev', 'e0', '-tentative'])
  return stdout.includes('inet6 fe80::')
}
