import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

const CLI = join(import.meta.dirname, '../cli.ts')

interface DemoDocument {
  readonly image: { readonly size: number }
  readonly received: readonly { nodeName: string; bytesFrom: Record<string, number> }[]
  readonly killedAtMs: number | null
  readonly pulledMs: number
  readonly verified: boolean
}

async function startDemo(t: TestContext, argv: readonly string[]) {
  const folder = await mkdtemp(join(tmpdir(), 'ddocker-demo-test-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const child = spawn(process.execPath, [CLI, 'demo', '--no-engine', ...argv], {
    env: { ...process.env, TMPDIR: folder },
  })
  t.after(() => child.kill('SIGKILL'))
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => (said.stdout += String(chunk)))
  child.stderr.on('data', (chunk) => (said.stderr += String(chunk)))
  const ended = once(child, 'close').then(([exitCode]) => ({
    exitCode: exitCode as number,
    ...said,
  }))
  return { child, ended, folder, said }
}

test('the demo brings the image to both nodes though the seeder is killed, and leaves nothing', async (t) => {
  const { ended, folder } = await startDemo(t, ['--json', '--size', '24MiB'])
  const { exitCode, stdout, stderr } = await ended
  assert.equal(exitCode, 0, stderr)
  const { image, received, killedAtMs, pulledMs, verified } = JSON.parse(stdout) as DemoDocument
  assert.deepEqual(
    received.map(({ nodeName }) => nodeName),
    ['ben', 'cleo'],
  )
  for (const { nodeName, bytesFrom } of received) {
    const other = nodeName === 'ben' ? 'cleo' : 'ben'
    assert.ok((bytesFrom['ada'] ?? 0) > 0 && (bytesFrom[other] ?? 0) > 0, JSON.stringify(bytesFrom))
    const sum = Object.values(bytesFrom).reduce((total, bytes) => total + bytes, 0)
    assert.ok(sum >= image.size, `${sum} of ${image.size}`)
  }
  assert.ok(
    killedAtMs !== null && killedAtMs < pulledMs,
    `killed at ${killedAtMs}, done at ${pulledMs}`,
  )
  assert.equal(verified, true)
  assert.match(stderr, /^4 {2}ada is killed after /m)
  assert.deepEqual(await readdir(folder), [])
})

test('a demo that is interrupted leaves nothing, neither files nor processes', async (t) => {
  const { child, ended, folder, said } = await startDemo(t, [])
  const running = Promise.withResolvers<void>()
  child.stderr.on('data', () => {
    if (/^3 /m.test(said.stderr)) running.resolve()
  })
  await Promise.race([running.promise, ended])
  child.kill('SIGINT')
  const { exitCode, stderr } = await ended
  assert.equal(exitCode, 130)
  assert.match(stderr, /^error: interrupted$/m)
  assert.deepEqual(await readdir(folder), [])
})
