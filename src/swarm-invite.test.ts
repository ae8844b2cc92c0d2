import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'

import { readSwarmKey, swarmKeyPath } from './membership/swarm-key.ts'
import { openNode, openOffline } from './node.ts'
import { runLine } from './testing/command-line.ts'
import { openTestnet, writeLayout } from './testing/testnet.ts'

/** Nothing listens at the discard port. */
const NOBODY = 'static:127.0.0.1:9'
const KEY_FILE = { swarmKeyFile: undefined }

test('an invite for one node lets it in, which finds the others by nothing else, and lets nobody in again', async () => {
  await using net = await openTestnet()
  const a = await net.start('a')
  const layout = await writeLayout(join(net.dir, 'image'), [300_000])
  await a.run(a.node.operations.import, { path: layout.path, name: 'app:1' })
  const address = `127.0.0.1:${a.node.ready.peerPort}`
  const forOne = ['swarm', 'invite', '--once', '--expires', '10m', '--address', address]
  const invited = await runLine([...forOne, '--data-dir', a.dataDir])
  assert.match(invited.stdout, /^dd1t-\S+\n$/)
  assert.match(invited.stderr, /^honoured for .* for one node, at 127\.0\.0\.1:\d+ while/)

  const join1 = await runLine(['swarm', 'join', invited.stdout, '--data-dir', join(net.dir, 'b')])
  assert.equal(join1.stdout, `joined swarm ${a.node.ready.swarmId}\n`)
  const b = await net.start('b', { ...KEY_FILE, discovery: [NOBODY] })
  const pulled = await b.run(b.node.operations.pull, { reference: 'local/app:1', load: false })
  assert.ok(pulled.bytes.peers > 300_000)

  const again = await runLine(['swarm', 'join', invited.stdout, '--data-dir', join(net.dir, 'c')])
  assert.deepEqual([again.exitCode, again.stdout], [2, ''])
  assert.match(again.stderr, /invite: it is used up/)
  await assert.rejects(readSwarmKey(swarmKeyPath(join(net.dir, 'c'))))
})

test('an invite that ends needs a running node of a closed swarm', async () => {
  await using net = await openTestnet()
  const offline = ['swarm', 'invite', '--once', '--data-dir', join(net.dir, 'off')]
  const alone = await runLine(offline, { nodeModule: { openNode, openOffline } })
  assert.equal(alone.exitCode, 1)
  assert.match(alone.stderr, /wanted a running node of a closed swarm/)
  const open = await net.start('open', { ...KEY_FILE, swarm: 'public', discovery: ['none'] })
  const { swarmInvite } = open.node.operations
  await assert.rejects(open.run(swarmInvite, { once: true }), { code: 'NODE_NOT_RUNNING' })
})

test('an invite is a QR code too, which a phone reads from the screen', async () => {
  await using net = await openTestnet()
  const a = await net.start('a')
  const said = await runLine([
    'swarm',
    'invite',
    '--expires',
    '1h',
    '--qr',
    '--data-dir',
    a.dataDir,
  ])
  const [line = '', ...code] = said.stdout.trimEnd().split('\n')
  assert.match(line, /^dd1t-/)
  assert.ok(code.length >= 18 && code.every((row) => /^[ █▀▄]+$/.test(row)), said.stdout)
  const json = await runLine([
    'swarm',
    'invite',
    '--once',
    '--qr',
    '--json',
    '--data-dir',
    a.dataDir,
  ])
  const document = JSON.parse(json.stdout) as { expiresAtMs: number; once: boolean }
  assert.ok(document.once && document.expiresAtMs > Date.now() + 80_000_000)
})

test('what makes no sense is refused with what was wanted', async () => {
  await using net = await openTestnet()
  const a = await net.start('a')
  for (const [args, wanted] of [
    [['--expires', 'soon'], /--expires: wanted a duration/],
    [['--expires', '400d'], /--expires: wanted .* at most 365d, found "400d"/],
    [['--address', 'here'], /address: wanted host:port, found "here"/],
  ] as const) {
    const said = await runLine(['swarm', 'invite', ...args, '--data-dir', a.dataDir])
    assert.notEqual(said.exitCode, 0)
    assert.match(said.stderr, wanted)
  }
  const stranger = randomBytes(40).toString('hex')
  const said = await runLine(['swarm', 'join', stranger, '--data-dir', join(net.dir, 'x')])
  assert.equal(said.exitCode, 2)
})
