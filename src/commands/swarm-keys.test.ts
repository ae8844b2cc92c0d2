import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { NodeOperations } from '../control/control-protocol.ts'
import { runLine, startFakeNode } from '../testing/command-line.ts'

const told = (nodeName: string) => ({ nodeId: nodeName.repeat(64), nodeName, host: 'h', port: 1 })
const changed = { swarmId: 'new', previousSwarmId: 'old', overlapMs: 3_600_000, revoked: [] }

test('says who has a new key, and with 3 that somebody has not', async (t) => {
  const asked: unknown[] = []
  const given: Partial<NodeOperations> = {
    swarmRotate: async (request) => {
      asked.push(request)
      return { ...changed, reached: [told('a'), told('b')], notReached: [] }
    },
    swarmRevoke: async (request) => {
      asked.push(request)
      const revoked = [{ nodeId: 'c'.repeat(64), nodeName: 'lap\u001btop' }]
      return { ...changed, revoked, overlapMs: 0, reached: [told('a')], notReached: [told('b')] }
    },
  }
  const dataDir = await startFakeNode(t, given)
  const run = (...argv: string[]) => runLine([...argv, '--data-dir', dataDir])

  const rotated = await run('swarm', 'rotate', '--overlap', '1h')
  assert.equal(rotated.exitCode, 0)
  assert.match(rotated.stdout, /^the swarm has a new key: old is new now\n2 members have it: a/)
  assert.match(rotated.stdout, /taken for 1 h 0 m more/)
  const revoked = await run('swarm', 'revoke', 'laptop', 'cccc')
  assert.equal(revoked.exitCode, 3)
  assert.ok(!revoked.stdout.includes('\u001b'))
  assert.match(revoked.stdout, /^shut out c{16} \(lap.+top\); the swarm has a new key/)
  assert.match(revoked.stdout, /^1 member has it: a .*\n1 member could not be told, .*: b/m)
  assert.match(revoked.stdout, /still holds what it had: every image/)
  const json = await run('swarm', 'revoke', 'laptop', '--json')
  assert.equal(json.exitCode, 3)
  assert.deepEqual((JSON.parse(json.stdout) as { notReached: unknown }).notReached, [told('b')])
  assert.equal((await run('swarm', 'rotate')).exitCode, 0)
  assert.deepEqual(asked, [
    { overlapMs: 3_600_000 },
    { nodes: ['laptop', 'cccc'] },
    { nodes: ['laptop'] },
    { overlapMs: 86_400_000 },
  ])
  for (const overlap of ['0s', '31d', 'long', '-1h'])
    assert.equal((await run('swarm', 'rotate', `--overlap=${overlap}`)).exitCode, 2)
  assert.equal((await run('swarm', 'revoke')).exitCode, 2)
})
