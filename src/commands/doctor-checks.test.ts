import assert from 'node:assert/strict'
import { chmod, mkdir, utimes, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import { loadConfig } from '../config/load-config.ts'
import type { Config } from '../config/options.ts'
import type { MainlineStats } from '../discovery/discovery.ts'
import { OperationError } from '../errors.ts'
import { KeyKeeper } from '../membership/key-keeper.ts'
import { makeNodeIdentity } from '../membership/node-identity.ts'
import { makeSwarmKey, writeSwarmKey } from '../membership/swarm-key.ts'
import type { NodeStatus, PublishedStatus } from '../status/node-status.ts'
import { makeDataDir, runLine } from '../testing/command-line.ts'
import { CHECKS, type CheckResult, type Patient } from './doctor-checks.ts'

async function makePatient(
  t: TestContext,
  changes: Partial<Patient> = {},
): Promise<Patient & { config: Config }> {
  const dataDir = await makeDataDir(t)
  const config = await loadConfig({ dataDir, registry: '127.0.0.1:0', dockerHost: 'none' })
  return {
    config,
    configError: undefined,
    node: undefined,
    nodeError: new OperationError('NODE_NOT_RUNNING', 'no node runs'),
    nodeVersion: '24.12.0',
    nowMs: Date.UTC(2030, 0, 1),
    signal: new AbortController().signal,
    ...changes,
  } as Patient & { config: Config }
}

async function look(name: string, patient: Patient): Promise<CheckResult> {
  const found = await CHECKS.find((check) => check.name === name)?.look(patient)
  return found ?? assert.fail(`${name} did not look`)
}

test('a fresh machine passes, and is told that no node runs', async (t) => {
  const dataDir = join(await makeDataDir(t), 'new')
  const argv = [
    'doctor',
    '--data-dir',
    dataDir,
    '--registry',
    '127.0.0.1:0',
    '--docker-host',
    'none',
  ]
  const { exitCode, stdout } = await runLine([...argv, '--json'])
  const { healthy, checks } = JSON.parse(stdout) as {
    healthy: boolean
    checks: { name: string; result: string }[]
  }
  const results = Object.fromEntries(checks.map(({ name, result }) => [name, result]))
  delete results['free space']
  assert.deepEqual(results, {
    'Node.js': 'ok',
    configuration: 'ok',
    'data directory': 'ok',
    'key files': 'ok',
    clock: 'ok',
    'running node': 'warn',
    registry: 'ok',
    engine: 'ok',
  })
  assert.equal(exitCode, 0)
  assert.equal(healthy, true)
})

test('a wrong configuration is a finding, and fails', async () => {
  const { exitCode, stdout } = await runLine(['doctor', '--peer-port', 'x'])
  assert.equal(exitCode, 1)
  assert.match(stdout, /^ok {4}Node\.js/m)
  assert.match(
    stdout,
    /^fail {2}configuration +--peer-port: wanted a port .*found "x"\n +hint: .+$/m,
  )
  assert.match(stdout, /^1 check failed$/m)
})

test('an old Node fails', async (t) => {
  const versions: [string, string][] = [
    ['24.12.0', 'ok'],
    ['26.0.0', 'ok'],
    ['24.11.9', 'fail'],
    ['20.20.2', 'fail'],
  ]
  for (const [nodeVersion, wanted] of versions) {
    assert.equal((await look('Node.js', await makePatient(t, { nodeVersion }))).result, wanted)
  }
})

test('a data directory that is a file fails', async (t) => {
  const patient = await makePatient(t)
  const file = join(patient.config.dataDir, 'file')
  await writeFile(file, '')
  for (const dataDir of [file, join(file, 'below')]) {
    const found = await look('data directory', {
      ...patient,
      config: { ...patient.config, dataDir },
    })
    assert.equal(found.result, 'fail')
    assert.match(found.message, /wanted a directory that can be written/)
  }
})

test('keys that others may read fail, with the command that mends it', async (t) => {
  const patient = await makePatient(t)
  const { dataDir } = patient.config
  await mkdir(join(dataDir, 'keys'))
  const path = join(dataDir, 'keys', 'swarm.key')
  await writeFile(path, 'k', { mode: 0o600 })
  assert.deepEqual(await look('key files', patient), {
    result: 'ok',
    message: '1 file, for the owner only',
  })
  await chmod(path, 0o640)
  const found = await look('key files', patient)
  assert.equal(found.result, 'fail')
  assert.match(found.hint ?? '', new RegExp(`^Run \`chmod 600 ${path}\``))
  const missing = { ...patient.config, swarmKeyFile: join(dataDir, 'missing') }
  assert.match(
    (await look('key files', { ...patient, config: missing })).message,
    /missing is not there/,
  )
})

test('an old key in a key file of others is a warning, with where the new one is', async (t) => {
  const patient = await makePatient(t)
  const { dataDir } = patient.config
  await mkdir(join(dataDir, 'keys'))
  const swarmKeyFile = join(dataDir, 'given.key')
  await writeSwarmKey(swarmKeyFile, makeSwarmKey())
  const given = { ...patient, config: { ...patient.config, swarmKeyFile } }
  assert.equal((await look('key files', given)).result, 'ok')
  const options = { dataDir, keyFile: swarmKeyFile, identity: makeNodeIdentity() }
  await using keeper = await KeyKeeper.open(options)
  await keeper.issue({ overlapMs: 0 })
  const found = await look('key files', given)
  assert.equal(found.result, 'warn')
  assert.match(found.hint ?? '', /^Put what is in .*successor\.key there/)
  await writeSwarmKey(swarmKeyFile, keeper.keys.newest)
  assert.equal((await look('key files', given)).result, 'ok')
})

test('a clock that cannot be right fails', async (t) => {
  const patient = await makePatient(t)
  assert.equal((await look('clock', { ...patient, nowMs: 0 })).result, 'fail')
  const path = join(patient.config.dataDir, 'keys', 'node.pem')
  await mkdir(join(patient.config.dataDir, 'keys'))
  await writeFile(path, 'k', { mode: 0o600 })
  const later = new Date(patient.nowMs + 3_600_000)
  await utimes(path, later, later)
  assert.match((await look('clock', patient)).message, /before this node was made/)
  await utimes(path, new Date(patient.nowMs), new Date(patient.nowMs))
  assert.equal((await look('clock', patient)).result, 'ok')
})

test('a registry port that another program has fails', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.after(() => server.close())
  const patient = await makePatient(t)
  const registry = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const found = await look('registry', { ...patient, config: { ...patient.config, registry } })
  assert.deepEqual(found, {
    result: 'fail',
    message: `127.0.0.1:${registry.port}: EADDRINUSE`,
    hint: new OperationError('PORT_IN_USE', '').hint,
  })
})

test('a node that runs but does not answer fails, none at all is a remark', async (t) => {
  const hangs = new OperationError('NODE_UNREACHABLE', 'the node has said nothing for 60 s')
  const unreachable = await makePatient(t, { nodeError: hangs })
  assert.equal((await look('running node', unreachable)).result, 'fail')
  assert.equal((await look('running node', await makePatient(t))).result, 'warn')
})

test('an engine that is not there is a remark', async (t) => {
  const patient = await makePatient(t)
  const config = { ...patient.config, dockerHost: `unix://${patient.config.dataDir}/none.sock` }
  const found = await look('engine', { ...patient, config })
  assert.equal(found.result, 'warn')
  assert.match(found.message, /none\.sock: ENOENT$/)
})

test('mainline is looked at where the swarm meets there: reached, seen from where, in the list', async (t) => {
  const lookAt = async (mainline: MainlineStats | undefined, peers = 0) => {
    const node = { mainline, peers, peerPort: 6881 } as NodeStatus
    const patient = await makePatient(t, { node })
    return await CHECKS.find(({ name }) => name === 'mainline')?.look(patient)
  }
  assert.equal(await lookAt(undefined), undefined)
  const away = await lookAt({ nodes: 0, members: 0, isListed: false })
  assert.deepEqual([away?.result, away?.message], ['warn', 'no node of mainline answers'])
  assert.match(away?.hint ?? '', /UDP/)
  const open = await lookAt({ nodes: 1, members: 1, isListed: false })
  const unknown = '1 node; address from outside not known; 1 other member there, this one not yet'
  assert.deepEqual(open, { result: 'ok', message: unknown })
  const outside = { nodes: 60, members: 2, isListed: true, outerHost: '203.0.113.7' }
  const seen = '60 nodes; address from outside 203.0.113.7; 2 other members there, this one too'
  assert.deepEqual(await lookAt(outside, 1), { result: 'ok', message: seen })
  const behind = await lookAt(outside)
  assert.deepEqual([behind?.result, behind?.message], ['warn', seen])
  assert.match(behind?.hint ?? '', /Forward port 6881 .* 203\.0\.113\.7/)
  assert.equal((await lookAt({ ...outside, outerHost: '127.0.0.1' }))?.result, 'ok')
})

test('the public side is looked at while something is published: open, and found', async (t) => {
  const lookAt = async (published: Partial<PublishedStatus> | null) => {
    const node = { published } as NodeStatus
    const patient = await makePatient(t, { node })
    return await CHECKS.find(({ name }) => name === 'public side')?.look(patient)
  }
  assert.equal(await lookAt(null), undefined)
  const closed = await lookAt({ images: 2, dhtNodes: 0, problem: 'port 6882 is in use' })
  const message = '2 images published, but nobody can have it: port 6882 is in use'
  assert.deepEqual([closed?.result, closed?.message], ['warn', message])
  const alone = await lookAt({ images: 1, port: 6882, dhtNodes: 0 })
  assert.deepEqual([alone?.result, /UDP/.test(alone?.hint ?? '')], ['warn', true])
  const found = await lookAt({ images: 1, port: 6882, dhtNodes: 30 })
  const well = '1 image published on port 6882, 30 nodes in its DHT'
  assert.deepEqual(found, { result: 'ok', message: well })
})
