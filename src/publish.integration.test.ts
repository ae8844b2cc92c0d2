/** The public side as it runs for users: a process of its own. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import type { PublishResult } from './control/control-protocol.ts'
import { hexOf, type Digest } from './oci/digest.ts'
import { publicReachOf } from './sandbox/peer-side-folder.ts'
import { peerSideFlags } from './sandbox/peer-side-process.ts'
import { until } from './testing/dht-testnet.ts'
import { startDdockerNode } from './testing/lab/ddocker-node.ts'
import { childrenOf } from './testing/process-tree.ts'
import { tempDir } from './testing/temp-dir.ts'
import { writeLayout } from './testing/testnet.ts'
import { answersHandshake } from './testing/wire-fuzz.ts'

const MIB = 1024 * 1024

test('the process that everybody talks to can read what is published and nothing else, and comes back where it ends', async () => {
  await using dir = await tempDir()
  await using node = await startDdockerNode({ discovery: 'none' })
  const shown = await writeLayout(join(dir.path, 'shown'), [2 * MIB])
  const kept = await writeLayout(join(dir.path, 'kept'), [2 * MIB])
  await node.cliJson(['import', shown.path, '--name', 'local/shown:1'])
  await node.cliJson(['import', kept.path, '--name', 'local/kept:1'])
  const before = childrenOf(node.pid)
  const { images, publicNode } = (await node.cliJson([
    'publish',
    'local/shown:1',
    '--own',
  ])) as PublishResult
  const [publicSide, ...others] = childrenOf(node.pid).filter((pid) => !before.includes(pid))
  assert.ok(publicSide && publicNode)
  assert.deepEqual(others, [])

  const command = (await readFile(`/proc/${publicSide}/cmdline`, 'utf8')).split('\0')
  const flags = peerSideFlags(publicReachOf(node.dataDir))
  assert.ok(flags.every((flag) => command.includes(flag)))
  const [layer] = shown.layers
  const [other] = kept.layers
  assert.ok(layer && other)
  const inStore = (digest: Digest) =>
    join(node.dataDir, 'blobs/sha256', hexOf(digest).slice(0, 2), hexOf(digest))
  const published = join(node.dataDir, 'blobs/public', hexOf(layer.digest))
  const tries = {
    published: `readFileSync(${JSON.stringify(published)})`,
    changed: `writeFileSync(${JSON.stringify(published)}, '')`,
    kept: `readFileSync(${JSON.stringify(inStore(other.digest))})`,
    store: `readdirSync(${JSON.stringify(join(node.dataDir, 'blobs/sha256'))})`,
    partial: `readdirSync(${JSON.stringify(join(node.dataDir, 'partial'))})`,
    list: `readdirSync(${JSON.stringify(join(node.dataDir, 'public/images'))})`,
    ownKey: `readFileSync(${JSON.stringify(join(node.dataDir, 'public/keys/node.pem'))})`,
    swarmKey: `readFileSync(${JSON.stringify(join(node.dataDir, 'keys/swarm.key'))})`,
  }
  const probe = `
    const { readFileSync, writeFileSync, readdirSync } = require('node:fs')
    const outcome = (work) => { try { work(); return 'done' } catch (error) { return error.code } }
    console.log(JSON.stringify({
      ${Object.entries(tries)
        .map(([name, work]) => `${name}: outcome(() => ${work})`)
        .join(',\n')}
    }))`
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, '--eval', probe])
  const denied = Object.keys(tries).map((name) => [name, 'ERR_ACCESS_DENIED'])
  assert.deepEqual(JSON.parse(stdout), { ...Object.fromEntries(denied), published: 'done' })

  const { infoHash = '' } = images[0]?.blobs.find(({ role }) => role === 'layer') ?? {}
  assert.equal(await answersHandshake(publicNode.port, infoHash), true)
  process.kill(publicSide, 'SIGKILL')
  await until(async () => await answersHandshake(publicNode.port, infoHash))
  await node.cliJson(['unpublish', 'local/shown:1'])
  assert.deepEqual(childrenOf(node.pid), before)
})
