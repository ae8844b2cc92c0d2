/**
 * Members on one LAN find each other, and pull from each other, whatever the LAN is like: nothing but a cable, no
 * IPv4, several interfaces, one that comes up later. No host has a way out, and what it sends is looked at.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'

import type { PeerStatus } from './status/node-status.ts'
import { requireLab } from './testing/lab/lab-requirements.ts'
import { openLaptop, type Laptop } from './testing/lab/laptop.ts'
import { hostAt, openNetwork, type Network, type NetworkHost } from './testing/lab/network.ts'
import { startPacketCapture } from './testing/lab/packet-capture.ts'
import { tempDir } from './testing/temp-dir.ts'
import { writeLayout } from './testing/testnet.ts'

const LIMIT_MS = 5000
const POLL_MS = 50
const FIRST_WORDS_MS = 1500
const GIVE_UP_MS = 30_000
const LAYER_BYTES = [3 * 1024 * 1024, 70_000]
const ON_THE_LAN = /^(?:10\.77\.|192\.168\.|169\.254\.|2(?:2[4-9]|3\d)\.|ff[0-9a-f]{2}:|fe80:)/
const LAN_ONLY = ['--discovery', 'lan']

test('the first two nodes of a swarm find each other in 5 s with no option and no internet', async (t) => {
  await using stage = await openStage(t)
  if (!stage) return
  const { network, a, b } = stage
  await using capture = await startPacketCapture(network)
  await using _ = await startAndMeet(t, stage, [])
  await pullFrom(a, b)
  const { datagrams, streams } = await capture.stop()
  const hosts = new Set([...datagrams, ...streams].map(({ to }) => to.host))
  assert.ok(hosts.has('239.192.152.143'))
  assert.deepEqual(
    [...hosts].filter((host) => !ON_THE_LAN.test(host)),
    [],
  )
})

test('link-local addresses of IPv6 are enough to find each other and to pull', async (t) => {
  await using stage = await openStage(t)
  if (!stage) return
  const { network, a, b } = stage
  for (const host of network.hosts) await ip(host, '-4 addr flush dev e0')
  await using _ = await startAndMeet(t, stage, LAN_ONLY)
  for (const { host } of [a, b])
    assert.match((await peersOf(host)).join(), /^\[fe80::[^\]]+%e0\]:6881$/)
  await pullFrom(a, b)
})

test('multicast goes out on every interface, whichever the others are on', async (t) => {
  await using stage = await openStage(t)
  if (!stage) return
  const { network, a, b } = stage
  // A bridge of an engine with a container on it, the same on every host, is the default way, and IPv6 is no help.
  for (const host of network.hosts) {
    await host.run('sysctl', ['-w', 'net.ipv6.conf.all.disable_ipv6=1'])
    await ip(host, 'link add docker0 type bridge')
    await ip(host, 'addr add 172.17.0.1/16 dev docker0')
    await ip(host, 'link add veth0 type veth peer name container0')
    await ip(host, 'link set veth0 master docker0 up')
    for (const name of ['container0', 'docker0']) await ip(host, `link set ${name} up`)
    await ip(host, 'route add default dev docker0')
  }
  await using _ = await startAndMeet(t, stage, LAN_ONLY)
  await pullFrom(a, b)
})

test('who plugs in later is found within seconds', async (t) => {
  await using stage = await openStage(t)
  if (!stage) return
  const { a, b } = stage
  await b.host.setLink('down')
  await using nodes = new AsyncDisposableStack()
  for (const laptop of [a, b]) nodes.use(await laptop.serve(LAN_ONLY))
  // What it says by itself, once a minute, comes too early and too late.
  await setTimeout(FIRST_WORDS_MS)
  assert.deepEqual(await peersOf(b.host), [])
  await b.host.setLink('up')
  const ms = await untilMet([a.host, b.host])
  t.diagnostic(`met ${ms} ms after the cable was plugged in`)
  assert.ok(ms < LIMIT_MS, `${ms} ms`)
  await pullFrom(a, b)
})

interface Stage extends AsyncDisposable {
  readonly network: Network
  readonly a: Laptop
  readonly b: Laptop
}

/** Two laptops that are members of one swarm and know nothing of each other. */
async function openStage(t: TestContext): Promise<Stage | undefined> {
  if (!requireLab(t, ['linux', 'root', 'network', 'tcpdump'])) return undefined
  await using opening = new AsyncDisposableStack()
  const network = opening.use(await openNetwork({ hostCount: 2 }))
  for (const host of network.hosts) await ip(host, 'route del 224.0.0.0/4 dev e0')
  const a = opening.use(await openLaptop(hostAt(network, 0)))
  const b = opening.use(await openLaptop(hostAt(network, 1)))
  const { invite } = (await a.ddockerJson(['swarm', 'invite'])) as { invite: string }
  await b.ddockerJson(['swarm', 'join', invite])
  const opened = opening.move()
  return { network, a, b, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

/** Starts both at once, and waits until each knows the other: within the limit. */
async function startAndMeet(
  t: TestContext,
  { a, b }: Stage,
  args: readonly string[],
): Promise<AsyncDisposable> {
  const startMs = performance.now()
  await using nodes = new AsyncDisposableStack()
  for (const node of await Promise.all([a.serve(args), b.serve(args)])) nodes.use(node)
  await untilMet([a.host, b.host])
  const ms = Math.round(performance.now() - startMs)
  t.diagnostic(`met ${ms} ms after both were started`)
  assert.ok(ms < LIMIT_MS, `${ms} ms`)
  return nodes.move()
}

/** @returns milliseconds until each of them knows somebody */
async function untilMet(hosts: readonly NetworkHost[]): Promise<number> {
  const startMs = performance.now()
  for (;;) {
    const peers = await Promise.all(hosts.map(peersOf))
    const ms = Math.round(performance.now() - startMs)
    if (peers.every(({ length }) => length > 0)) return ms
    assert.ok(ms < GIVE_UP_MS, 'they do not find each other')
    await setTimeout(POLL_MS)
  }
}

/** The addresses of those that the node of a host knows. */
async function peersOf(host: NetworkHost): Promise<string[]> {
  const url = 'http://127.0.0.1:5151/api/v1/peers'
  const { stdout } = await host.run('curl', ['--silent', '--max-time', '5', url])
  const { peers } = JSON.parse(stdout) as { peers: PeerStatus[] }
  return peers.map(({ address }) => address)
}

async function pullFrom(a: Laptop, b: Laptop): Promise<void> {
  await using dir = await tempDir()
  const { path } = await writeLayout(join(dir.path, 'image'), LAYER_BYTES)
  await a.ddockerJson(['import', path, '--name', 'team/app:1'])
  await b.ddockerJson(['pull', 'team/app:1', '--no-load'])
}

async function ip(host: NetworkHost, command: string): Promise<void> {
  const { code, stderr } = await host.run('ip', command.split(' '))
  assert.equal(code, 0, `ip ${command}: ${stderr}`)
}
