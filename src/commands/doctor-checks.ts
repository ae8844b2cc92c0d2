import { constants } from 'node:fs'
import { access, stat, statfs } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { dirname, join } from 'node:path'

import type { Config } from '../config/options.ts'
import { isOperationError, messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { successorPath } from '../membership/key-keeper.ts'
import { keyLinePath, readKeyLine } from '../membership/key-line-file.ts'
import { isInLine, lastOrder } from '../membership/key-line.ts'
import { readSwarmKey, swarmKeyPath } from '../membership/swarm-key.ts'
import type { NodeStatus } from '../status/node-status.ts'
import { formatByteSize } from '../support/byte-size.ts'
import { deadline } from '../support/deadline.ts'
import { count } from './wording.ts'

/** What one look found. `warn`: it works, but perhaps not as wished. */
export interface CheckResult {
  readonly result: 'ok' | 'warn' | 'fail'
  /** what was found */
  readonly message: string
  /** what to do, an imperative sentence */
  readonly hint?: string
}

/** What the checks look at. */
export interface Patient {
  /** absent where the configuration is wrong */
  readonly config: Config | undefined
  readonly configError: OperationError | undefined
  /** absent where no node answers */
  readonly node: NodeStatus | undefined
  readonly nodeError: OperationError | undefined
  readonly nodeVersion: string
  readonly nowMs: number
  readonly signal: AbortSignal
}

export interface NamedCheck {
  readonly name: string
  /** @returns undefined where there is nothing to look at */
  readonly look: (patient: Patient) => Promise<CheckResult | undefined>
}

const OLDEST_NODE = [24, 12] as const
const LITTLE_SPACE_BYTES = 2 * 1024 ** 3
const NO_SPACE_BYTES = 100 * 1024 ** 2
const TIMEOUT_MS = 5000
/** the year this program was written; certificates and proofs fail before it */
const OLDEST_CLOCK_MS = Date.UTC(2025, 0, 1)
const CLOCK_SLACK_MS = 60_000

/** From the ground up: what comes first may be why something later fails. */
export const CHECKS: readonly NamedCheck[] = [
  { name: 'Node.js', look: checkNodeVersion },
  { name: 'configuration', look: checkConfiguration },
  { name: 'data directory', look: checkDataDirectory },
  { name: 'free space', look: checkSpace },
  { name: 'key files', look: checkKeyFiles },
  { name: 'clock', look: checkClock },
  { name: 'running node', look: checkRunningNode },
  { name: 'registry', look: checkRegistry },
  { name: 'engine', look: checkEngine },
  { name: 'mainline', look: checkMainline },
  { name: 'peers', look: checkPeers },
  { name: 'public side', look: checkPublicSide },
]

const ok = (message: string): CheckResult => ({ result: 'ok', message })
const warn = (message: string, hint: string): CheckResult => ({ result: 'warn', message, hint })
const fail = (message: string, hint: string): CheckResult => ({ result: 'fail', message, hint })

function checkNodeVersion({ nodeVersion }: Patient): Promise<CheckResult> {
  const [major = 0, minor = 0] = nodeVersion.split('.').map(Number)
  const [oldestMajor, oldestMinor] = OLDEST_NODE
  const isRecent = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)
  if (isRecent) return Promise.resolve(ok(nodeVersion))
  const message = `wanted ${OLDEST_NODE.join('.')} or later, found ${nodeVersion}`
  return Promise.resolve(fail(message, 'Install Node 24, or start bin/ddocker.js after `npm ci`.'))
}

function checkConfiguration({ config, configError, node }: Patient): Promise<CheckResult> {
  if (configError) return Promise.resolve(fail(configError.message, configError.hint))
  // a running node has its own flags: what this command line says is of the next one
  if (node || !config) return Promise.resolve(ok('config.json, variables and flags are sound'))
  return Promise.resolve(ok(`swarm ${config.swarm}, discovery ${config.discovery.join(',')}`))
}

async function checkDataDirectory({ config }: Patient): Promise<CheckResult | undefined> {
  if (!config) return undefined
  const { dataDir } = config
  const existing = await nearestExisting(dataDir)
  try {
    if (!(await stat(existing)).isDirectory()) throw new Error(`${existing} is no directory`)
    await access(existing, constants.W_OK | constants.X_OK)
  } catch (error) {
    const found = systemCodeOf(error) ?? messageOf(error)
    const { hint } = new OperationError('DATA_DIR_UNUSABLE', '')
    return fail(`${dataDir}: wanted a directory that can be written, found ${found}`, hint)
  }
  return ok(existing === dataDir ? dataDir : `${dataDir} (made at the first start)`)
}

async function checkSpace({ config }: Patient): Promise<CheckResult | undefined> {
  if (!config) return undefined
  const { bavail, bsize } = await statfs(await nearestExisting(config.dataDir))
  const bytes = bavail * bsize
  const message = `${formatByteSize(bytes)} where the data directory lies`
  const hint = 'Free some, limit what is kept with --max-disk, or move the node with --data-dir.'
  if (bytes < NO_SPACE_BYTES) return fail(message, hint)
  return bytes < LITTLE_SPACE_BYTES ? warn(message, hint) : ok(message)
}

async function checkKeyFiles({ config }: Patient): Promise<CheckResult | undefined> {
  if (!config) return undefined
  const { dataDir, swarmKeyFile } = config
  const paths = [
    swarmKeyPath(dataDir),
    join(dataDir, 'keys', 'node.pem'),
    successorPath(dataDir),
    keyLinePath(dataDir),
  ]
  if (swarmKeyFile !== undefined) paths.push(swarmKeyFile)
  const found: string[] = []
  const open: string[] = []
  for (const path of paths) {
    const mode = await modeOf(path)
    if (mode !== undefined) found.push(path)
    if (mode !== undefined && (mode & 0o077) !== 0) open.push(path)
  }
  if (swarmKeyFile !== undefined && !found.includes(swarmKeyFile)) {
    return fail(`${swarmKeyFile} is not there`, 'Put the key there, or leave --swarm-key-file out.')
  }
  if (open.length > 0) {
    const hint = `Run \`chmod 600 ${open.join(' ')}\`; make a new key if somebody may have read it.`
    return fail(`others may read ${open.join(' and ')}`, hint)
  }
  if (swarmKeyFile !== undefined && (await isOutdated(swarmKeyFile, dataDir))) {
    const hint = `Put what is in ${successorPath(dataDir)} there, before others start with it.`
    return warn(`the swarm has another key by now than the one in ${swarmKeyFile}`, hint)
  }
  if (found.length === 0) return ok('none yet (made at the first start)')
  return ok(`${count(found.length, 'file')}, for the owner only`)
}

/** Whether the node was told of a key that follows the one in the file. */
async function isOutdated(swarmKeyFile: string, dataDir: string): Promise<boolean> {
  try {
    const [given, line] = [await readSwarmKey(swarmKeyFile), await readKeyLine(dataDir, Date.now())]
    const newest = line && lastOrder(line)?.key
    return line !== undefined && newest?.equals(given) === false && isInLine(line, given)
  } catch {
    // what cannot be read is another check's
    return false
  }
}

async function checkClock({ config, nowMs }: Patient): Promise<CheckResult> {
  const hint =
    'Set the clock (timedatectl set-ntp true): nodes refuse proofs that are a minute off.'
  const shown = new Date(nowMs).toISOString().slice(0, 19).replace('T', ' ')
  if (nowMs < OLDEST_CLOCK_MS) return fail(`it says ${shown} UTC`, hint)
  const keyAtMs = config ? await changedAtMs(join(config.dataDir, 'keys', 'node.pem')) : undefined
  if (keyAtMs !== undefined && keyAtMs > nowMs + CLOCK_SLACK_MS) {
    return fail(`it says ${shown} UTC, which is before this node was made`, hint)
  }
  return ok(`${shown} UTC`)
}

function checkRunningNode({ config, node, nodeError }: Patient): Promise<CheckResult | undefined> {
  if (node)
    return Promise.resolve(ok(`${node.nodeName}, version ${node.version}, swarm ${node.swarmId}`))
  if (!config || !nodeError) return Promise.resolve(undefined)
  const look = isOperationError(nodeError, 'NODE_NOT_RUNNING') ? warn : fail
  return Promise.resolve(look(nodeError.message, nodeError.hint))
}

async function checkRegistry({ config, node, signal }: Patient): Promise<CheckResult | undefined> {
  if (!node) return config && (await checkFreePort(config))
  const url = `http://${node.registry}/v2/`
  const hint = 'Read the log of the node, and see whether a firewall or proxy stands between.'
  try {
    const response = await fetch(url, { signal: deadline(TIMEOUT_MS, signal) })
    await response.body?.cancel()
    return response.ok ? ok(`${url} answers`) : fail(`${url}: status ${response.status}`, hint)
  } catch (error) {
    signal.throwIfAborted()
    return fail(`${url}: ${causeOf(error)}`, hint)
  }
}

async function checkFreePort({ registry: { host, port } }: Config): Promise<CheckResult> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const server = createServer().listen({ host, port }, () => resolve(undefined))
  server.once('error', (error) => resolve(systemCodeOf(error) ?? error.message))
  const found = await promise
  server.close()
  if (found === undefined) return ok(`${host}:${port} is free for the node`)
  const code = found === 'EADDRINUSE' ? 'PORT_IN_USE' : 'ADDRESS_UNUSABLE'
  return fail(`${host}:${port}: ${found}`, new OperationError(code, '').hint)
}

async function checkEngine({ config, node, signal }: Patient): Promise<CheckResult | undefined> {
  const { hint } = new OperationError('ENGINE_UNAVAILABLE', '')
  if (node?.engine) {
    const { version, store, driver, host } = node.engine
    return ok(`${version}, ${store} store (${driver}) at ${host}`)
  }
  if (!config) return undefined
  if (config.dockerHost === 'none') return ok('none wanted (--docker-host none)')
  if (node) return warn('the node has none', hint)
  const path = config.dockerHost.match(/^unix:\/\/(.+)$/)?.[1] ?? '/var/run/docker.sock'
  if (!/^(?:auto|unix:.*)$/.test(config.dockerHost))
    return ok(`${config.dockerHost} (asked when the node runs)`)
  const found = await knock(path, signal)
  return found === undefined ? ok(`${path} answers`) : warn(`${path}: ${found}`, engineHint(found))
}

function engineHint(found: string): string {
  const code = found === 'EACCES' ? 'ENGINE_PERMISSION' : 'ENGINE_UNAVAILABLE'
  return new OperationError(code, '').hint
}

/** Whether members elsewhere can find this node, as far as it can tell. */
function checkMainline({ node }: Patient): Promise<CheckResult | undefined> {
  if (!node?.mainline) return Promise.resolve(undefined)
  const { nodes, outerHost, members, isListed } = node.mainline
  if (nodes === 0) {
    const hint = 'See that UDP passes the firewall, or leave mainline out (`--discovery lan`).'
    return Promise.resolve(warn('no node of mainline answers', hint))
  }
  const seen = outerHost === undefined ? 'not known' : outerHost
  const others = count(members, 'other member')
  const message = `${count(nodes, 'node')}; address from outside ${seen}; ${others} there, this one ${isListed ? 'too' : 'not yet'}`
  if (node.peers > 0 || outerHost === undefined || isOwnAddress(outerHost)) {
    return Promise.resolve(ok(message))
  }
  const hint = `Forward port ${node.peerPort} (TCP and UDP) of the router at ${outerHost} to this host, here or at the other site.`
  return Promise.resolve(warn(message, hint))
}

function isOwnAddress(host: string): boolean {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  return own.some(({ address }) => address === host)
}

/** Whether everybody can have what is published, as far as this node can tell. */
async function checkPublicSide({ node }: Patient): Promise<CheckResult | undefined> {
  if (!node?.published) return undefined
  const { images, port, problem, dhtNodes } = node.published
  const shared = `${count(images, 'image')} published`
  if (port === undefined) {
    const hint = 'Stop what uses the port, or start the node with another --public-port.'
    return warn(`${shared}, but nobody can have it: ${problem ?? 'its port is not open'}`, hint)
  }
  const message = `${shared} on port ${port}, ${count(dhtNodes, 'node')} in its DHT`
  if (dhtNodes > 0) return ok(message)
  const hint =
    'See that UDP passes the firewall, and what --public-discovery says: nobody finds what is published.'
  return warn(message, hint)
}

function checkPeers({ node }: Patient): Promise<CheckResult | undefined> {
  if (!node) return Promise.resolve(undefined)
  const message = `${count(node.peers, 'node')} in contact, ${node.dhtNodes} in the DHT`
  if (node.peers > 0) return Promise.resolve(ok(message))
  const hint =
    'Start a second node with the same key (`ddocker swarm invite`); see that UDP and TCP of --peer-port pass the firewall.'
  return Promise.resolve(warn(message, hint))
}

/** @returns undefined where somebody answers, else why not */
async function knock(path: string, signal: AbortSignal): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket = connect({ path, signal: deadline(TIMEOUT_MS, signal) }, () => resolve(undefined))
  socket.once('error', (error) => resolve(systemCodeOf(error) ?? error.message))
  try {
    return await promise
  } finally {
    socket.destroy()
  }
}

async function nearestExisting(path: string): Promise<string> {
  try {
    await stat(path)
    return path
  } catch {
    return path === dirname(path) ? path : nearestExisting(dirname(path))
  }
}

async function modeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.mode
}

async function changedAtMs(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.mtimeMs
}

/** `fetch failed` says nothing; its cause does. */
function causeOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return systemCodeOf(cause) ?? messageOf(error)
}
