import assert from 'node:assert/strict'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { makeDataDir, runLine, startFakeNode } from '../testing/command-line.ts'
import { VERSION } from '../version.ts'
import { COMMANDS } from './command-list.ts'

const LINES = COMMANDS.flatMap((definition) =>
  'commands' in definition
    ? [
        definition,
        ...definition.commands.map((inner) => ({
          ...inner,
          usage: `${definition.usage} ${inner.usage}`,
        })),
      ]
    : [definition],
)

test('every command tells what it is for', async () => {
  for (const { usage, summary } of LINES) {
    const words = usage.split(' ').filter((word) => !/[<[]/.test(word))
    const { exitCode, stdout, stderr } = await runLine([...words, '--help'])
    assert.equal(exitCode, 0, usage)
    assert.equal(stderr, '', usage)
    assert.match(stdout, new RegExp(`^Usage: ddocker ${words.join(' ')}`), usage)
    assert.ok(stdout.toLowerCase().includes(summary.toLowerCase().slice(0, 40)), usage)
    assert.match(stdout, /--data-dir <dir>/, usage)
  }
})

test('the help names every command, and fits into 110 columns', async () => {
  const { exitCode, stdout } = await runLine(['--help'])
  assert.equal(exitCode, 0)
  for (const { usage } of COMMANDS) assert.ok(stdout.includes(`\n  ${usage.split(' ')[0]}`), usage)
  for (const line of stdout.split('\n')) assert.ok(line.length <= 110, line)
})

test('serve takes every option of the node', async () => {
  const { stdout } = await runLine(['serve', '--help'])
  const options =
    'data-dir registry peer-port peer-host node-name swarm swarm-key-file discovery docker-host upstream ' +
    'insecure-upstream max-disk upload-limit download-limit upstream-limit log-level'
  for (const name of options.split(' ')) assert.match(stdout, new RegExp(`--${name} <`), name)
})

test('what is no command line is a usage error that names the nearest', async () => {
  const cases: [string[], RegExp][] = [
    [[], /^error: wanted a command, found none$/m],
    [['pul', 'x'], /^error: unknown command 'pul' \(Did you mean pull\?\)$/m],
    [['swarm', 'jion', 'x'], /^error: unknown command 'jion' \(Did you mean join\?\)$/m],
    [['swarm'], /^error: wanted a command, found none$/m],
    [['ls', '--jsn'], /^error: unknown option '--jsn' \(Did you mean --json\?\)$/m],
    [
      ['serve', '--peer-prot', '1'],
      /^error: unknown option '--peer-prot' \(Did you mean .*--peer-port.*\?\)$/m,
    ],
    [['pull'], /^error: missing required argument 'image'$/m],
    [['pull', 'a', 'b'], /^error: too many arguments for 'pull'/m],
    [['serve', '--peer-port'], /^error: option '--peer-port <port>' argument missing$/m],
    [['ls', '--peer-port', '1'], /^error: unknown option '--peer-port'/m],
    [
      ['warm', 'a', '--parallel', '0'],
      /^error: --parallel: wanted a whole number from 1 to 1000, found "0"$/m,
    ],
    [['warm', 'a', '--nodes', ','], /^error: --nodes: wanted names such as a,b, found none$/m],
    [['demo', '--size', '1KiB'], /^error: --size: wanted 3MiB to 1GiB, found "1KiB"$/m],
  ]
  for (const [argv, message] of cases) {
    const { exitCode, stderr } = await runLine(argv)
    assert.equal(exitCode, 2, argv.join(' '))
    assert.match(stderr, message)
    assert.match(stderr, /^ {2}hint: .+ --help/m)
  }
})

test('a wrong option of the node is told before anything is opened', async () => {
  const cases: [string[], Record<string, string>, RegExp][] = [
    [
      ['serve', '--peer-port', '70000'],
      {},
      /^error: --peer-port: wanted a port .* found "70000"$/m,
    ],
    [
      ['serve'],
      { DDOCKER_SWARM: 'open' },
      /^error: DDOCKER_SWARM: wanted closed or public, found "open"$/m,
    ],
    [
      ['ls'],
      { DDOCKER_DATADIR: 'x' },
      /^error: variable "DDOCKER_DATADIR" is unknown \(did you mean "DDOCKER_DATA_DIR"\?\)$/m,
    ],
  ]
  for (const [argv, environment, message] of cases) {
    const { exitCode, stdout, stderr } = await runLine(argv, { environment })
    assert.equal(exitCode, 2)
    assert.equal(stdout, '')
    assert.match(stderr, message)
  }
})

test('the version is that of the package', async () => {
  assert.deepEqual(await runLine(['--version']), {
    exitCode: 0,
    stdout: `${VERSION}\n`,
    stderr: '',
  })
  assert.equal((await runLine(['version'])).stdout, `${VERSION}\n`)
  const { stdout } = await runLine(['version', '--json'])
  assert.deepEqual(JSON.parse(stdout), { version: VERSION, node: process.versions.node })
})

test('an error is told with what is wrong and what to do', async (t) => {
  const dataDir = await makeDataDir(t)
  assert.deepEqual(await runLine(['ls', '--data-dir', dataDir]), {
    exitCode: 1,
    stdout: '',
    stderr: `error: no node runs with ${dataDir}\n  hint: Start it with \`ddocker serve\`, with the same --data-dir.\n`,
  })
})

test('global options may stand before the command', async (t) => {
  const dataDir = await startFakeNode(t, {})
  const { exitCode, stdout } = await runLine(['--data-dir', dataDir, '--json', 'ls'])
  assert.equal(exitCode, 0)
  assert.deepEqual(JSON.parse(stdout), { images: [] })
})

test('with --json an error is the one document on stdout', async (t) => {
  const dataDir = await makeDataDir(t)
  const { exitCode, stdout, stderr } = await runLine(['ls', '--json', '--data-dir', dataDir])
  assert.equal(exitCode, 1)
  assert.equal(stderr, '')
  assert.deepEqual(JSON.parse(stdout), {
    error: new OperationError('NODE_NOT_RUNNING', `no node runs with ${dataDir}`, {
      details: { dataDir },
    }).toJSON(),
  })
  const usage = await runLine(['pull', '--json'])
  assert.equal(usage.exitCode, 2)
  assert.equal((JSON.parse(usage.stdout) as { error: { code: string } }).error.code, 'USAGE')
})

test('what the node wanted and found is shown where its message does not say it', async (t) => {
  const details = { wanted: 'sha256:aa', found: 'sha256:bb' }
  const dataDir = await startFakeNode(t, {
    pull: () =>
      Promise.reject(new OperationError('BLOB_DIGEST_MISMATCH', 'a blob is wrong', { details })),
  })
  const { stderr } = await runLine(['pull', 'app', '--data-dir', dataDir])
  const { hint } = new OperationError('BLOB_DIGEST_MISMATCH', '')
  assert.equal(
    stderr,
    `error: a blob is wrong\n  wanted: sha256:aa\n  found: sha256:bb\n  hint: ${hint}\n`,
  )
})

test('a mistake in the node is no excuse for a crash of the command', async (t) => {
  const dataDir = await startFakeNode(t, { list: () => Promise.reject(new TypeError('oops')) })
  const { exitCode, stderr } = await runLine(['ls', '--data-dir', dataDir])
  assert.equal(exitCode, 1)
  assert.match(stderr, /^error: oops\n {2}hint: .+report it/)
})

test('an interrupted command says so, and ends with 130', async (t) => {
  const started = Promise.withResolvers<void>()
  const stopped = Promise.withResolvers<void>()
  const dataDir = await startFakeNode(t, {
    seedAll: (_, { signal }) => {
      signal.addEventListener('abort', () => stopped.resolve())
      started.resolve()
      return new Promise(() => undefined)
    },
  })
  const interruption = new AbortController()
  const running = runLine(['seed-all', '--watch', '--data-dir', dataDir], {
    signal: interruption.signal,
  })
  await started.promise
  interruption.abort(new OperationError('INTERRUPTED', 'interrupted'))
  assert.deepEqual(await running, {
    exitCode: 130,
    stdout: '',
    stderr: 'error: interrupted\n  hint: Run the command again to go on.\n',
  })
  await stopped.promise
})

test('what breaks because of an interruption is not told as a failure of its own', async (t) => {
  const dataDir = await makeDataDir(t)
  const interruption = new AbortController()
  const openOffline = () => {
    interruption.abort(new OperationError('INTERRUPTED', 'interrupted'))
    return Promise.reject(new OperationError('CATALOG_UNUSABLE', 'closed meanwhile'))
  }
  const said = await runLine(['import', 'x', '--data-dir', dataDir], {
    signal: interruption.signal,
    nodeModule: { openOffline, openNode: openOffline },
  })
  assert.equal(said.exitCode, 130)
  assert.match(said.stderr, /^error: interrupted$/m)
})
