import assert from 'node:assert/strict'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { swarmIdOf } from '../membership/swarm-key.ts'
import { testSwarmKey, testSwarmKeys } from '../testing/dht-testnet.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { SavedNodes } from './saved-nodes.ts'

const swarmId = swarmIdOf(testSwarmKey('a'))

const nodes = [
  { host: '10.0.0.1', port: 6881 },
  { host: '10.0.0.2', port: 6882 },
]

test('gives back what it saved, to the same swarm, in a file of the owner', async () => {
  await using dir = await tempDir()
  const stateDir = join(dir.path, 'made when needed')
  await new SavedNodes({ stateDir, swarmKeys: testSwarmKeys('a') }).save(nodes)
  assert.deepEqual(await new SavedNodes({ stateDir, swarmKeys: testSwarmKeys('a') }).load(), nodes)
  assert.deepEqual(await new SavedNodes({ stateDir, swarmKeys: testSwarmKeys('b') }).load(), [])
  assert.equal((await stat(join(stateDir, 'dht-nodes.json'))).mode & 0o777, 0o600)
})

test('keeps what it has when there is nothing to save, and at most 200 nodes', async () => {
  await using dir = await tempDir()
  const saved = new SavedNodes({ stateDir: dir.path, swarmKeys: testSwarmKeys('a') })
  assert.deepEqual(await saved.load(), [])
  await saved.save(
    Array.from({ length: 300 }, (_, index) => ({ host: '10.0.0.1', port: index + 1 })),
  )
  await saved.save([])
  assert.equal((await saved.load()).length, 200)
})

for (const content of [
  '',
  '{',
  'null',
  '[]',
  '{"swarmId":"ID"}',
  '{"swarmId":"ID","nodes":{}}',
  '{"swarmId":"ID","nodes":[null,1,{"host":"x","port":1},{"host":"10.0.0.1","port":0},{"host":"10.0.0.1"}]}',
  `{"swarmId":"ID","nodes":[],"more":"${'x'.repeat(70_000)}"}`,
]) {
  test(`takes a file of ${content.slice(0, 40) || 'nothing'} for none`, async () => {
    await using dir = await tempDir()
    await writeFile(join(dir.path, 'dht-nodes.json'), content.replace('ID', swarmId))
    assert.deepEqual(
      await new SavedNodes({ stateDir: dir.path, swarmKeys: testSwarmKeys('a') }).load(),
      [],
    )
  })
}

test('writes nothing that tells who the swarm is', async () => {
  await using dir = await tempDir()
  await new SavedNodes({ stateDir: dir.path, swarmKeys: testSwarmKeys('a') }).save(nodes)
  const content: unknown = JSON.parse(await readFile(join(dir.path, 'dht-nodes.json'), 'utf8'))
  assert.deepEqual(content, { swarmId, nodes })
})
