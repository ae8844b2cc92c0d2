import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'

import { startFakeNode } from './testing/command-line.ts'
import { VERSION } from './version.ts'

const CLI = join(import.meta.dirname, 'cli.ts')
const BIN = join(import.meta.dirname, '../bin/ddocker.js')

function start(argv: readonly string[], program = CLI) {
  const kept = Object.entries(process.env).filter(([name]) => !/^D?DOCKER_/.test(name))
  const child = spawn(process.execPath, [program, ...argv], { env: Object.fromEntries(kept) })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => (said.stdout += String(chunk)))
  child.stderr.on('data', (chunk) => (said.stderr += String(chunk)))
  const ended = once(child, 'close').then(([exitCode]) => ({
    exitCode: exitCode as number,
    ...said,
  }))
  return { child, ended }
}

test('the program and its launcher print the version', async () => {
  const wanted = { exitCode: 0, stdout: `${VERSION}\n`, stderr: '' }
  assert.deepEqual(await start(['--version']).ended, wanted)
  assert.deepEqual(await start(['--version'], BIN).ended, wanted)
})

test('a usage error ends with 2', async () => {
  const { exitCode, stdout, stderr } = await start(['pul', 'x']).ended
  assert.equal(exitCode, 2)
  assert.equal(stdout, '')
  assert.match(stderr, /^error: unknown command 'pul' \(Did you mean pull\?\)\n {2}hint: /)
})

test('Ctrl-C ends a command with 130 and aborts what the node does for it', async (t) => {
  const started = Promise.withResolvers<void>()
  const aborted = Promise.withResolvers<void>()
  const dataDir = await startFakeNode(t, {
    pull: (_, { signal }) => {
      signal.addEventListener('abort', () => aborted.resolve())
      started.resolve()
      return new Promise(() => undefined)
    },
  })
  const { child, ended } = start(['pull', 'app', '--data-dir', dataDir])
  await started.promise
  child.kill('SIGINT')
  const { exitCode, stdout, stderr } = await ended
  assert.equal(exitCode, 130)
  assert.equal(stdout, '')
  assert.equal(stderr, 'error: interrupted\n  hint: Run the command again to go on.\n')
  await aborted.promise
})

test('a reader that closes its end does not make a command fail', async (t) => {
  const image = {
    names: ['x'.repeat(1000)],
    digest: 'd',
    mediaType: 'm',
    size: 1,
    blobs: 1,
    complete: true,
  }
  const images = Array.from({ length: 2000 }, () => image)
  const dataDir = await startFakeNode(t, { list: () => Promise.resolve({ images }) })
  const { child, ended } = start(['ls', '--json', '--data-dir', dataDir])
  child.stdout.destroy()
  const { exitCode, stderr } = await ended
  assert.equal(stderr, '')
  assert.equal(exitCode, 0)
})

test('a real node answers commands, drains on SIGTERM, and leaves a folder that still answers', async (t) => {
  const dataDir = await makeFolder(t)
  const { child, ended } = start([
    'serve',
    '--data-dir',
    dataDir,
    '--node-name',
    'tester',
    '--docker-host',
    'none',
    '--registry',
    '127.0.0.1:0',
    '--peer-host',
    '127.0.0.1',
    '--peer-port',
    '0',
    '--discovery',
    'none',
    '--upstream',
    'off',
  ])
  t.after(() => child.kill('SIGKILL'))
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  const ready = JSON.parse(/^ready (\{.*\})$/.exec(line)?.[1] ?? '') as Record<string, unknown>
  assert.deepEqual(Object.keys(ready), ['registry', 'peerPort', 'nodeId', 'nodeName', 'swarmId'])
  assert.equal(ready['nodeName'], 'tester')
  const id = await start(['swarm', 'id', '--data-dir', dataDir]).ended
  assert.equal(id.stdout, `${String(ready['swarmId'])}\n`)
  child.kill('SIGTERM')
  const { exitCode, stdout } = await ended
  assert.equal(exitCode, 0)
  assert.equal(stdout, `${line}\n`)
  assert.deepEqual(await start(['swarm', 'id', '--data-dir', dataDir]).ended, id)
})

async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ddocker-cli-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}
