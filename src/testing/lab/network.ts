/**
 * Hosts on one machine: each has its own network namespace, all hang on one bridge. Nothing leaves
 * the machine: the bridge has no other port, and hosts know no route but to the bridge.
 *
 *   host 1 e0 10.77.N.1 ── veth ─┐
 *   host 2 e0 10.77.N.2 ── veth ─┼─ bridge 10.77.N.254 (this process: `gateway`)
 *   host 3 e0 10.77.N.3 ── veth ─┘
 *
 * N and all names are this network's own. A claim is a symbolic link /run/ddocker-lab/net/N to the
 * owner tag, so that it is taken atomically and a later process can see that the owner has died.
 */
import { mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { mustRun, run } from './child.ts'
import type { CommandResult, RunOptions } from './child.ts'
import { isAlive, ownOwner } from './lab-directory.ts'

const CLAIMS = '/run/ddocker-lab/net'
const MAX_NETWORKS = 254
const MAX_HOSTS = 253

/** What a network is made of. */
export interface NetworkOptions {
  hostCount: number
  /** Rate of every link in both directions as tc writes it, such as `50mbit`; unlimited by default. */
  rate?: string
  /**
   * The hosts are at different places: none hears the others, and the last one is the router by which they reach each
   * other, and whatever addresses of the network it is given.
   */
  isRouted?: boolean
}

/** One host of a network. */
export interface NetworkHost {
  readonly name: string
  /** Its IPv4 address, 10.77.N.i. */
  readonly address: string
  /** The address of this test process as this host sees it. */
  readonly gateway: string
  /** The start of a command line that runs a program in this host. */
  readonly prefix: readonly string[]
  /** Runs a command in this host; the file system is that of the machine. */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<CommandResult>
  /** Changes the rate in both directions; undefined lifts it. */
  setRate(rate: string | undefined): Promise<void>
  /** Plugs the cable out or in. */
  setLink(state: 'up' | 'down'): Promise<void>
}

/** Hosts on a bridge. Disposing removes namespaces, links and the claim. */
export interface Network extends AsyncDisposable {
  readonly hosts: readonly NetworkHost[]
  /** The address of this test process on the bridge, for servers that the test itself runs. */
  readonly gateway: string
}

/**
 * Makes hosts in network namespaces of their own. Needs root.
 * Left-overs of dead test processes are removed first.
 */
export async function openNetwork(options: NetworkOptions): Promise<Network> {
  if (options.hostCount > MAX_HOSTS) throw new TypeError(`at most ${MAX_HOSTS} hosts`)
  await sweepNetworks()
  const owner = ownOwner()
  const number = claimNumber(owner)
  try {
    return await buildNetwork(number, owner, options)
  } catch (error) {
    await removeNetwork(number, owner)
    throw error
  }
}

/** The n-th host, counted from 0. @throws TypeError when there is none */
export function hostAt(network: Network, index: number): NetworkHost {
  const host = network.hosts[index]
  if (host === undefined) throw new TypeError(`network has ${network.hosts.length} hosts`)
  return host
}

/** Removes the networks of test processes that have died. */
export async function sweepNetworks(): Promise<void> {
  for (const { number, owner } of readClaims()) {
    if (!isAlive(owner)) await removeNetwork(number, owner)
  }
}

async function buildNetwork(
  number: number,
  owner: string,
  { hostCount, rate, isRouted = false }: NetworkOptions,
): Promise<Network> {
  const gateway = gatewayAddress(number)
  const indexes = Array.from({ length: hostCount }, (_, index) => index + 1)
  await ip(
    [
      `link add ${bridgeName(number)} type bridge`,
      `addr add ${gateway}/24 dev ${bridgeName(number)}`,
      `link set ${bridgeName(number)} up`,
      ...indexes.flatMap((index) => plugCommands(number, owner, index)),
    ].join('\n'),
  )
  for (const index of indexes) {
    await ip(hostCommands(number, index), namespaceName(number, owner, index))
    if (rate !== undefined) await shape(number, owner, index, rate)
  }
  if (isRouted) await putApart(number, owner, indexes)
  return {
    gateway,
    hosts: indexes.map((index) => networkHost(number, owner, index)),
    [Symbol.asyncDispose]: async () => await removeNetwork(number, owner),
  }
}

function networkHost(number: number, owner: string, index: number): NetworkHost {
  const name = namespaceName(number, owner, index)
  // Not `ip netns exec`: that mounts a new /sys, and engines need the cgroups below it.
  const prefix = ['nsenter', `--net=/run/netns/${name}`, '--']
  return {
    name,
    address: hostAddress(number, index),
    gateway: gatewayAddress(number),
    prefix,
    run: async (command, args, options = {}) => await run(command, args, { ...options, prefix }),
    setRate: async (rate) => await shape(number, owner, index, rate),
    setLink: async (state) => await ip(`link set ${linkName(number, index)} ${state}`),
  }
}

function plugCommands(number: number, owner: string, index: number): string[] {
  const [link, namespace] = [linkName(number, index), namespaceName(number, owner, index)]
  return [
    `netns add ${namespace}`,
    `link add ${link} type veth peer name e0 netns ${namespace}`,
    `link set ${link} master ${bridgeName(number)} up`,
  ]
}

function hostCommands(number: number, index: number): string {
  return [
    'link set lo up',
    `addr add ${hostAddress(number, index)}/24 dev e0`,
    'link set e0 up',
    // No default route: other addresses are unreachable at once, even on a machine that forwards.
    'route add 224.0.0.0/4 dev e0',
  ].join('\n')
}

/** Ports of a bridge that are isolated pass nothing on to each other, broadcast and multicast included. */
async function putApart(number: number, owner: string, indexes: readonly number[]): Promise<void> {
  const router = indexes.at(-1) ?? 0
  const settings = ['ip_forward 1', 'conf/all/send_redirects 0', 'conf/e0/send_redirects 0']
  const inRouter = ['nsenter', `--net=/run/netns/${namespaceName(number, owner, router)}`, '--']
  for (const setting of settings) {
    const [name = '', value = ''] = setting.split(' ')
    const write = `echo ${value} > /proc/sys/net/ipv4/${name}`
    await mustRun('sh', ['-c', write], { prefix: inRouter })
  }
  for (const index of indexes.slice(0, -1)) {
    await ip(`link set ${linkName(number, index)} type bridge_slave isolated on`)
    const own = hostAddress(number, index)
    const commands = [
      `addr del ${own}/24 dev e0`,
      `addr add ${own}/32 dev e0`,
      `route add ${hostAddress(number, router)}/32 dev e0`,
      `route add ${networkAddress(number)} via ${hostAddress(number, router)}`,
      'route add 224.0.0.0/4 dev e0',
    ]
    await ip(commands.join('\n'), namespaceName(number, owner, index))
  }
}

async function shape(
  number: number,
  owner: string,
  index: number,
  rate: string | undefined,
): Promise<void> {
  const ends = [
    { namespace: ['-n', namespaceName(number, owner, index)], device: 'e0' },
    { namespace: [], device: linkName(number, index) },
  ]
  for (const { namespace, device } of ends) {
    const bucket = ['tbf', 'rate', rate ?? '', 'burst', '64k', 'latency', '100ms']
    const qdisc = (verb: string): string[] => [...namespace, 'qdisc', verb, 'dev', device, 'root']
    // Deleting what is not there is an error to tc and none to us.
    if (rate === undefined) await run('tc', qdisc('del'))
    else await mustRun('tc', [...qdisc('replace'), ...bucket])
  }
}

async function ip(commands: string, namespace?: string): Promise<void> {
  const where = namespace === undefined ? [] : ['-n', namespace]
  await mustRun('ip', [...where, '-batch', '-'], { input: `${commands}\n` })
}

async function removeNetwork(number: number, owner: string): Promise<void> {
  const listed = await run('ip', ['netns', 'list'])
  const ours = listed.stdout
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name.startsWith(namespacePrefix(number, owner)))
  // The kernel removes a namespace's own links later; the name is free only when we remove them.
  for (const name of ours) await run('ip', ['-n', name, 'link', 'del', 'e0'])
  for (const name of ours) await run('ip', ['netns', 'del', name])
  await run('ip', ['link', 'del', bridgeName(number)])
  if (readClaims().some((claim) => claim.number === number && claim.owner === owner)) {
    rmSync(join(CLAIMS, String(number)), { force: true })
  }
}

function claimNumber(owner: string): number {
  mkdirSync(CLAIMS, { recursive: true })
  for (let attempt = 0; attempt < MAX_NETWORKS; attempt += 1) {
    const number = 1 + ((process.pid + attempt) % MAX_NETWORKS)
    try {
      symlinkSync(owner, join(CLAIMS, String(number)))
      return number
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
  throw new Error(`all ${MAX_NETWORKS} networks below ${CLAIMS} are taken`)
}

function readClaims(): Array<{ number: number; owner: string }> {
  try {
    return readdirSync(CLAIMS).map((name) => ({
      number: Number(name),
      owner: readlinkSync(join(CLAIMS, name)),
    }))
  } catch {
    return []
  }
}

function bridgeName(number: number): string {
  return `ddlab${number}`
}

function linkName(number: number, index: number): string {
  return `ddlab${number}h${index}`
}

function namespacePrefix(number: number, owner: string): string {
  return `ddlab-${owner}-${number}-h`
}

function namespaceName(number: number, owner: string, index: number): string {
  return `${namespacePrefix(number, owner)}${index}`
}

function gatewayAddress(number: number): string {
  return `10.77.${number}.254`
}

function hostAddress(number: number, index: number): string {
  return `10.77.${number}.${index}`
}

function networkAddress(number: number): string {
  return `10.77.${number}.0/24`
}
