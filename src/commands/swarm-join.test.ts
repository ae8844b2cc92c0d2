import assert from 'node:assert/strict'
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'

import { formatInvite } from '../membership/invite.ts'
import {
  openSwarmKey,
  readSwarmKey,
  swarmIdOf,
  swarmKeyPath,
  type SwarmKey,
} from '../membership/swarm-key.ts'
import { makeDataDir, runLine, startFakeNode } from '../testing/command-line.ts'

const key = Buffer.alloc(32, 7) as SwarmKey
const invite = formatInvite(key)
const swarmId = swarmIdOf(key)

test('joining writes the key, for its owner only, where the node will look for it', async (t) => {
  const dataDir = join(await makeDataDir(t), 'not', 'there')
  const said = await runLine(['swarm', 'join', invite, '--data-dir', dataDir])
  assert.deepEqual(said, { exitCode: 0, stdout: `joined swarm ${swarmId}\n`, stderr: '' })
  assert.deepEqual(await readSwarmKey(swarmKeyPath(dataDir)), key)
  assert.equal((await stat(swarmKeyPath(dataDir))).mode & 0o777, 0o600)
  assert.equal((await stat(dirname(swarmKeyPath(dataDir)))).mode & 0o777, 0o700)
})

test('the key that was there is kept, because others may have been invited with it', async (t) => {
  const dataDir = await makeDataDir(t)
  await mkdir(dirname(swarmKeyPath(dataDir)))
  const previous = await openSwarmKey(dataDir)
  const keptKey = `${swarmKeyPath(dataDir)}.${swarmIdOf(previous)}`
  const said = await runLine(['swarm', 'join', invite, '--json', '--data-dir', dataDir])
  assert.deepEqual(JSON.parse(said.stdout), {
    swarmId,
    previousSwarmId: swarmIdOf(previous),
    keptKey,
    restartNeeded: false,
  })
  assert.deepEqual(await readSwarmKey(keptKey), previous)
  const again = await runLine(['swarm', 'join', invite, '--json', '--data-dir', dataDir])
  assert.deepEqual(JSON.parse(again.stdout), { swarmId, restartNeeded: false })
  assert.equal((await readdir(dirname(keptKey))).length, 2)
})

test('a key file that nobody could use is replaced', async (t) => {
  const dataDir = await makeDataDir(t)
  await mkdir(dirname(swarmKeyPath(dataDir)))
  await writeFile(swarmKeyPath(dataDir), 'rubbish')
  assert.equal((await runLine(['swarm', 'join', invite, '--data-dir', dataDir])).exitCode, 0)
  assert.deepEqual(await readSwarmKey(swarmKeyPath(dataDir)), key)
})

test('a running node must be restarted, unless it is in that swarm already', async (t) => {
  for (const [running, restartNeeded] of [
    ['0000000000000000', true],
    [swarmId, false],
  ] as const) {
    const dataDir = await startFakeNode(t, { swarmId: () => Promise.resolve({ swarmId: running }) })
    const { stdout } = await runLine(['swarm', 'join', invite, '--data-dir', dataDir])
    assert.equal(/restart it/.test(stdout), restartNeeded)
  }
})

test('an invite that is cut off, and a node whose key is elsewhere, change nothing', async (t) => {
  const dataDir = await makeDataDir(t)
  const cases: [string[], RegExp][] = [
    [[invite.slice(0, -1)], /^error: wanted a whole line that begins with dd1-/],
    [
      [invite, '--swarm-key-file', '/k'],
      /^error: swarm-key-file: wanted none in order to join, found "\/k"/,
    ],
    [[invite, '--swarm', 'public'], /^error: swarm: wanted closed in order to join, found public/],
  ]
  for (const [argv, message] of cases) {
    const said = await runLine(['swarm', 'join', ...argv, '--data-dir', dataDir])
    assert.equal(said.exitCode, 2)
    assert.match(said.stderr, message)
  }
  assert.deepEqual(await readdir(dataDir), [])
})

test('a data directory that cannot be written is told', async (t) => {
  const file = join(await makeDataDir(t), 'file')
  await writeFile(file, '')
  const said = await runLine(['swarm', 'join', invite, '--data-dir', file])
  assert.equal(said.exitCode, 1)
  assert.match(said.stderr, /swarm\.key: wanted to write the key, found ENOTDIR/)
})
