/** Two laptops on one cable and nothing else: what one has, the other runs by its name. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SeedResult } from '../../control/control-protocol.ts'
import { startDockerGd } from '../lab/docker-gd.ts'
import { buildLargeImage, runImage } from '../lab/images.ts'
import { requireLab } from '../lab/lab-requirements.ts'
import { openLaptop } from '../lab/laptop.ts'
import { hostAt, openNetwork, type NetworkHost } from '../lab/network.ts'
import { startPacketCapture } from '../lab/packet-capture.ts'

const LIMIT_MS = 10_000
const IMAGE = 'team/app:1'
const IMAGE_MIB = 64
const SERVE = ['--discovery', 'lan']
// As `ddocker mirror install` leaves it.
const daemonJson = { 'registry-mirrors': ['http://127.0.0.1:5151'] }

test('a second laptop runs an image by its name within 10 s of `serve`, with no way out', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network', 'docker-gd', 'busybox', 'tcpdump'])) return
  await using network = await openNetwork({ hostCount: 2 })
  const [hostA, hostB] = [hostAt(network, 0), hostAt(network, 1)]
  await using engineA = await startDockerGd({ host: hostA, daemonJson })
  await using engineB = await startDockerGd({ host: hostB, daemonJson })
  await using a = await openLaptop(hostA, { dockerSocket: engineA.socket })
  await using b = await openLaptop(hostB, { dockerSocket: engineB.socket })
  for (const host of network.hosts) await assertNoWayOut(host)
  const id = await buildLargeImage(engineA, { reference: IMAGE, incompressibleMib: IMAGE_MIB })

  await using capture = await startPacketCapture(network)
  await using nodeA = await a.serve(SERVE)
  const { failed } = (await a.ddockerJson(['seed', IMAGE])) as SeedResult
  assert.deepEqual(failed, [], nodeA.log)
  // The invite without a term is the key itself: who reads it off the screen needs no connection to join,
  // and learns no address by it.
  const { invite } = (await a.ddockerJson(['swarm', 'invite'])) as { invite: string }
  assert.equal((await b.ddocker(['swarm', 'join', invite])).code, 0)

  const startMs = performance.now()
  await using nodeB = await b.serve(SERVE)
  const readyMs = performance.now() - startMs
  const said = await runImage(engineB, IMAGE)
  const ms = performance.now() - startMs
  t.diagnostic(`ready after ${Math.round(readyMs)} ms, the container spoke after ${Math.round(ms)}`)
  assert.equal(said, IMAGE, nodeB.log)
  assert.equal(await engineB.dockerOk(['image', 'inspect', '--format', '{{.Id}}', IMAGE]), id)
  assert.ok(ms < LIMIT_MS, `${ms} ms`)
  const { datagrams, streams } = await capture.stop()
  const hosts = new Set([...datagrams, ...streams].map(({ to }) => to.host))
  t.diagnostic(`sent to ${[...hosts].join(', ')}`)
  assert.deepEqual([...hosts].filter(isElsewhere), [])
})

/** The route of the lab for multicast goes too: what a laptop without a router has is its own network. */
async function assertNoWayOut(host: NetworkHost): Promise<void> {
  await host.run('ip', ['route', 'del', '224.0.0.0/4', 'dev', 'e0'])
  const { stdout } = await host.run('ip', ['route'])
  assert.match(stdout, /^10\.77\.\d+\.0\/24 dev e0 .*\n$/)
  assert.notEqual((await host.run('getent', ['ahosts', 'router.bittorrent.com'])).code, 0)
}

function isElsewhere(host: string): boolean {
  return !/^(?:10\.77\.|2(?:2[4-9]|3\d)\.|ff[0-9a-f]{2}:|fe80:)/.test(host)
}
