import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import { digestOf } from './oci/digest.ts'
import { reachOf } from './sandbox/peer-side-folder.ts'
import { peerSideFlags } from './sandbox/peer-side-process.ts'
import { startDdockerNode, type DdockerNode } from './testing/lab/ddocker-node.ts'
import { openLayoutRegistry } from './testing/layout-registry.ts'
import { readBody, transfersAt } from './testing/node-reading.ts'
import { childrenOf } from './testing/process-tree.ts'
import { tempDir } from './testing/temp-dir.ts'
import { writeLayout } from './testing/testnet.ts'

const MIB = 1024 * 1024
const STARTED_AGAIN = /"ms":(\d+),"msg":"the process that talks to peers had ended/g

test('a pull from peers goes on to its right end while the process that talks to them is killed, at both ends', async (t) => {
  await using dir = await tempDir()
  const image = await writeLayout(join(dir.path, 'image'), [48 * MIB])
  const [layer] = image.layers
  assert.ok(layer)
  await using swarm = await startPair({ seedArgs: ['--upload-limit', '8MiB/s'] })
  const { seed, puller } = swarm
  await seed.cliJson(['import', image.path, '--name', 'app:1'])
  assert.equal((await puller.get('/v2/local/app/manifests/1')).status, 200)
  const victims = [puller, puller, seed, puller]
  let kills = 0
  const body = await readBody(`http://${puller.registry}/v2/local/app/blobs/${layer.digest}`, {
    onBytes: (bytes) => {
      const victim = victims[kills]
      if (!victim || bytes < (kills + 1) * 8 * MIB) return
      kills += 1
      killPeerSide(victim)
    },
  })
  assert.equal(kills, victims.length)
  assert.equal(body.isWhole, true)
  assert.equal(digestOf(body.bytes), layer.digest)
  const [transfer] = await transfersAt(puller.registry)
  assert.equal(transfer?.bytes.peers, layer.bytes.length)
  for (const [node, times] of [
    [puller, 3],
    [seed, 1],
  ] as const) {
    await node.logged(/had ended and was started again/)
    const ms = [...node.log.matchAll(STARTED_AGAIN)].map(([, text]) => Number(text))
    t.diagnostic(`started again after ${ms.join(', ')} ms`)
    assert.equal(ms.length, times)
    assert.ok(Math.max(...ms) < 1000, `started again after ${ms.join(', ')} ms`)
  }
})

test('while what talks to peers cannot live, pulls come from upstream', async () => {
  await using dir = await tempDir()
  const image = await writeLayout(join(dir.path, 'image'), [24 * MIB])
  const [layer] = image.layers
  assert.ok(layer)
  await using registry = await openLayoutRegistry()
  await registry.add('team/app', image)
  await using swarm = await startPair({
    seedArgs: ['--upload-limit', '2MiB/s'],
    args: ['--insecure-upstream', registry.address],
    upstream: 'on',
  })
  const { seed, puller } = swarm
  const name = `${registry.address}/team/app:1`
  await seed.cliJson(['pull', name, '--no-load'])
  const killer = setInterval(() => killPeerSide(puller), 50)
  try {
    const path = `team/app/blobs/${layer.digest}?ns=${registry.address}`
    const manifest = await puller.get(`/v2/team/app/manifests/1?ns=${registry.address}`)
    assert.equal(manifest.status, 200)
    const body = await readBody(`http://${puller.registry}/v2/${path}`)
    assert.equal(digestOf(body.bytes), layer.digest)
  } finally {
    clearInterval(killer)
  }
})

test('the process that talks to peers has no environment, and Node lets it read no key, no login, and start nothing', async () => {
  await using dir = await tempDir()
  await using node = await startDdockerNode({
    discovery: 'none',
    env: { DOCKER_CONFIG: dir.path, CANARY: 'a-secret' },
  })
  const [peerSide] = childrenOf(node.pid)
  assert.ok(peerSide)
  const environment = await readFile(`/proc/${peerSide}/environ`, 'latin1')
  const names = environment.split('\0').map((entry) => entry.split('=')[0] ?? '')
  assert.deepEqual(names.filter((name) => name !== '').toSorted(), [
    'NODE_CHANNEL_FD',
    'NODE_CHANNEL_SERIALIZATION_MODE',
    'NODE_COMPILE_CACHE',
  ])
  await writeFile(join(dir.path, 'config.json'), '{}')
  const flags = peerSideFlags(reachOf(node.dataDir))
  const command = (await readFile(`/proc/${peerSide}/cmdline`, 'utf8')).split('\0')
  assert.equal(command.includes('--permission'), true)
  const probe = `
    const { readFileSync, writeFileSync, readdirSync } = require('node:fs')
    const tries = {
      key: () => readFileSync(${JSON.stringify(join(node.dataDir, 'keys/swarm.key'))}),
      catalog: () => readdirSync(${JSON.stringify(join(node.dataDir, 'catalog'))}),
      login: () => readFileSync(${JSON.stringify(join(dir.path, 'config.json'))}),
      blob: () => writeFileSync(${JSON.stringify(join(node.dataDir, 'blobs/x'))}, ''),
      program: () => require('node:child_process').spawnSync('true'),
      partial: () => readdirSync(${JSON.stringify(join(node.dataDir, 'partial'))}),
    }
    const outcome = (work) => { try { work(); return 'done' } catch (error) { return error.code } }
    console.log(JSON.stringify(Object.fromEntries(Object.entries(tries).map(([name, work]) => [name, outcome(work)]))))`
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, '--eval', probe])
  const denied = 'ERR_ACCESS_DENIED'
  assert.deepEqual(JSON.parse(stdout), {
    key: denied,
    catalog: denied,
    login: denied,
    blob: denied,
    program: denied,
    partial: 'done',
  })
  assert.deepEqual((await readdir(join(node.dataDir, 'peer-side'))).toSorted(), [])
})

function killPeerSide(node: DdockerNode): void {
  for (const pid of childrenOf(node.pid)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it is gone already
    }
  }
}

async function startPair({
  seedArgs,
  args = [],
  upstream = 'off',
}: {
  seedArgs: readonly string[]
  args?: readonly string[]
  upstream?: 'on' | 'off'
}): Promise<{ seed: DdockerNode; puller: DdockerNode } & AsyncDisposable> {
  await using started = new AsyncDisposableStack()
  const common = { swarmKey: randomBytes(32).toString('hex'), upstream }
  const seed = started.use(
    await startDdockerNode({
      ...common,
      discovery: 'none',
      nodeName: 'seed',
      args: [...seedArgs, ...args],
    }),
  )
  const puller = started.use(
    await startDdockerNode({
      ...common,
      discovery: `bootstrap:${seed.peerAddress}`,
      nodeName: 'puller',
      args,
    }),
  )
  const opened = started.move()
  return { seed, puller, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}
