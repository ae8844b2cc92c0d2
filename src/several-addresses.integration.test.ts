/** Hosts with IPv6 alone, and hosts with several addresses of which one goes away. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import type { PullResult } from './control/control-protocol.ts'
import type { PeerStatus } from './status/node-status.ts'
import { until } from './testing/dht-testnet.ts'
import type { CommandResult } from './testing/lab/child.ts'
import { requireLab } from './testing/lab/lab-requirements.ts'
import { openLaptop, type Laptop } from './testing/lab/laptop.ts'
import { hostAt, openNetwork, type NetworkHost } from './testing/lab/network.ts'
import { tempDir } from './testing/temp-dir.ts'
import { writeLayout } from './testing/testnet.ts'

const MIB = 1024 * 1024
const NAME_OF_A = 'a.team.test'
const [ADDRESS_A, ADDRESS_B] = ['fd00::1', 'fd00::2']
const NO_LAN = ['--discovery', 'none']
const SOON_MS = 15_000

for (const way of [`static:[${ADDRESS_A}]:6881`, `dns:${NAME_OF_A}`]) {
  test(`where there are ULA addresses of IPv6 and nothing else, ${way} leads to a member`, async (t) => {
    await using stage = await openStage(t)
    if (!stage) return
    const { a, b } = stage
    for (const { host } of [a, b]) await ip(host, '-4 addr flush dev e0')
    await using nodes = new AsyncDisposableStack()
    nodes.use(await a.serve(NO_LAN))
    nodes.use(await b.serve(['--discovery', way]))
    const { size, bytes } = await pullFrom(a, b)
    assert.equal(bytes.peers, size)
    assert.deepEqual(await addressesSeenBy(b.host), [`[${ADDRESS_A}]:6881`])
  })
}

test('a host with three addresses is one peer, spoken with at one; when that is gone, at another', async (t) => {
  await using stage = await openStage(t)
  if (!stage) return
  const { a, b } = stage
  await using nodes = new AsyncDisposableStack()
  nodes.use(await a.serve(['--discovery', 'lan']))
  const ways = `lan,static:${a.host.address}:6881,static:[${ADDRESS_A}]:6881`
  nodes.use(await b.serve(['--discovery', ways]))
  await until(async () => (await addressesSeenBy(b.host)).length > 0)
  await pullFrom(a, b)
  const [seenAt = '', ...more] = await addressesSeenBy(b.host)
  assert.deepEqual(more, [])
  await until(async () => (await connectionsOf(b.host)).size === 1)

  const gone = seenAt.replace(/:6881$/, '').replace(/^\[(.*?)(?:%.*)?\]$/, '$1')
  t.diagnostic(`${gone} goes away`)
  await ip(a.host, `addr del ${gone}/${gone.includes(':') ? 64 : 24} dev e0`)
  await importAt(a, 'team/second:1')
  const startMs = performance.now()
  // A connection that leads nowhere any more is noticed when it is used.
  const tries = await triesUntil(async () => (await pullAt(b, 'team/second:1')).code === 0)
  const ms = Math.round(performance.now() - startMs)
  t.diagnostic(`pulled without it after ${ms} ms, by ${tries} tries`)
  assert.ok(ms < SOON_MS, `${ms} ms`)
  assert.equal((await addressesSeenBy(b.host)).length, 1)
  const others = [...(await connectionsOf(b.host))].filter((address) => !address.includes(gone))
  assert.equal(others.length, 1)
})

interface Stage extends AsyncDisposable {
  readonly a: Laptop
  readonly b: Laptop
}

/** Two members with addresses of both families. */
async function openStage(t: TestContext): Promise<Stage | undefined> {
  if (!requireLab(t, ['linux', 'root', 'network'])) return undefined
  await using opening = new AsyncDisposableStack()
  const network = opening.use(await openNetwork({ hostCount: 2 }))
  const [hostA, hostB] = [hostAt(network, 0), hostAt(network, 1)]
  await ip(hostA, `addr add ${ADDRESS_A}/64 dev e0 nodad`)
  await ip(hostB, `addr add ${ADDRESS_B}/64 dev e0 nodad`)
  const names = { [NAME_OF_A]: ADDRESS_A }
  const a = opening.use(await openLaptop(hostA, { names }))
  const b = opening.use(await openLaptop(hostB, { names }))
  const { invite } = (await a.ddockerJson(['swarm', 'invite'])) as { invite: string }
  await b.ddockerJson(['swarm', 'join', invite])
  const opened = opening.move()
  return { a, b, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

async function pullFrom(a: Laptop, b: Laptop): Promise<PullResult> {
  await importAt(a, 'team/app:1')
  const { stdout, stderr } = await pullAt(b, 'team/app:1')
  assert.notEqual(stdout, '', stderr)
  return JSON.parse(stdout) as PullResult
}

async function importAt(laptop: Laptop, reference: string): Promise<void> {
  await using dir = await tempDir()
  const { path } = await writeLayout(join(dir.path, 'image'), [3 * MIB, 70_000])
  await laptop.ddockerJson(['import', path, '--name', reference])
}

async function pullAt(laptop: Laptop, reference: string): Promise<CommandResult> {
  return laptop.ddocker(['pull', `local/${reference}`, '--no-load', '--json'])
}

async function triesUntil(isDone: () => Promise<boolean>): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    if (await isDone()) return tries
    assert.ok(tries < 20)
  }
}

/** Where a node says that its peers are. */
async function addressesSeenBy(host: NetworkHost): Promise<string[]> {
  const url = 'http://127.0.0.1:5151/api/v1/peers'
  const { stdout } = await host.run('curl', ['--silent', '--max-time', '5', url])
  const { peers } = JSON.parse(stdout) as { peers: PeerStatus[] }
  return peers.map(({ address }) => address)
}

/** The addresses that a host has connections to peer ports of others at. */
async function connectionsOf(host: NetworkHost): Promise<Set<string>> {
  const { stdout } = await host.run('ss', ['-Htn', 'state', 'established', 'dport = :6881'])
  const others = stdout.split('\n').flatMap((line) => line.trim().split(/\s+/).slice(3, 4))
  return new Set(others)
}

async function ip(host: NetworkHost, command: string): Promise<void> {
  const { code, stderr } = await host.run('ip', command.split(' '))
  assert.equal(code, 0, `ip ${command}: ${stderr}`)
}
