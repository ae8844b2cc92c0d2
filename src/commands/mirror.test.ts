import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { runLine } from '../testing/command-line.ts'
import { fillHost, snapshotHost } from '../testing/host-snapshot.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { changedLines } from './changed-lines.ts'

const CLASSIC = '{"features": {"containerd-snapshotter": false}}\n'

test('tells what it has written, what the engine needs, and what it cannot do', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker/daemon.json': CLASSIC })
  const said = await runLine(['mirror', 'install', '--root', dir.path])
  assert.deepEqual(said, {
    exitCode: 0,
    stderr: '',
    stdout: `docker: classic store (as daemon.json says): docker.io only
  changed  /etc/docker/daemon.json
  wrote    /etc/docker/certs.d/_default/hosts.toml
  now      Let Docker read daemon.json again: \`systemctl reload docker\`, or SIGHUP to dockerd.
  note     Other registries have no mirror in this store: \`docker pull 127.0.0.1:5151/ghcr.io/<name>\` goes through the node.

engines now ask 127.0.0.1:5151 first; \`ddocker mirror status\` proves it, \`ddocker mirror remove\` takes it back
`,
  })
  const again = await runLine(['mirror', 'install', '--root', dir.path])
  assert.match(again.stdout, /^ {2}nothing to change$/m)
  assert.match(again.stdout, /^engines were told of 127\.0\.0\.1:5151 before/m)
})

test('shows the changes of a dry run line by line', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker/daemon.json': CLASSIC })
  const before = await snapshotHost(dir.path)
  const { stdout } = await runLine(['mirror', 'install', '--root', dir.path, '--dry-run'])
  assert.match(stdout, /^ {2}change {3}\/etc\/docker\/daemon\.json$/m)
  assert.match(stdout, /^ {2}then {5}Let Docker read/m)
  assert.match(
    stdout,
    /- \{"features": .*\n {6}\+ \{"registry-mirrors": \["http:\/\/127\.0\.0\.1:5151"\],"features"/,
  )
  assert.match(stdout, /this was a dry run: nothing was written\n$/)
  assert.deepEqual(await snapshotHost(dir.path), before)
})

test('takes the address from --registry, and writes it so that engines reach it', async () => {
  await using dir = await tempDir()
  for (const [registry, url] of [
    ['0.0.0.0:7000', 'http://127.0.0.1:7000'],
    ['[::]:7001', 'http://[::1]:7001'],
  ] as const) {
    await runLine(['mirror', 'install', '--docker', '--root', dir.path, '--registry', registry])
    const path = join(dir.path, 'etc/docker/certs.d/_default/hosts.toml')
    assert.match(await readFile(path, 'utf8'), new RegExp(RegExp.escape(`"${url}"`)))
  }
})

test('tells what became of each file', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker/daemon.json': CLASSIC })
  const before = await snapshotHost(dir.path)
  await runLine(['mirror', 'install', '--root', dir.path])
  const said = await runLine(['mirror', 'remove', '--root', dir.path])
  assert.equal(
    said.stdout,
    `restored /etc/docker/daemon.json
removed  /etc/docker/certs.d/_default/hosts.toml
now      Restart Docker when it suits: until then it asks the node first, and docker.io where that is away.
`,
  )
  assert.deepEqual(await snapshotHost(dir.path), before)
  const again = await runLine(['mirror', 'remove', '--root', dir.path])
  assert.deepEqual(again, { exitCode: 0, stderr: '', stdout: 'nothing was installed\n' })
})

test('gives files back though the engine is gone', async () => {
  await using dir = await tempDir()
  await runLine(['mirror', 'install', '--buildkit', '--root', dir.path])
  const { stdout } = await runLine(['mirror', 'remove', '--root', dir.path])
  assert.match(stdout, /^removed {2}\/etc\/buildkit\/buildkitd\.toml$/m)
  assert.deepEqual(await snapshotHost(dir.path), {})
})

test('says in one line per engine how it stands, and 3 where one does not ask the node', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker': null, 'etc/containers': null })
  const where = ['--root', dir.path, '--registry', '127.0.0.1:1']
  const { stdout, exitCode } = await runLine(['mirror', 'status', ...where])
  assert.equal(exitCode, 3)
  assert.equal(
    stdout,
    `docker      none      /etc/docker/certs.d/_default/hosts.toml is not there
                      hint: Run \`ddocker mirror install\`.
podman      none      /etc/containers/registries.conf.d/50-ddocker.conf is not there
                      hint: Run \`ddocker mirror install\`.
`,
  )
  const json = await runLine(['mirror', 'status', '--json', ...where])
  const { engines, hit } = JSON.parse(json.stdout) as { engines: { state: string }[]; hit: boolean }
  assert.deepEqual([hit, ...engines.map(({ state }) => state)], [false, 'absent', 'absent'])
})

test('serves a user without root by his own files, and doctor tells how that goes', async () => {
  await using dir = await tempDir()
  const environment = {
    XDG_CONFIG_HOME: join(dir.path, 'config'),
    XDG_DATA_HOME: join(dir.path, 'data'),
  }
  const before = await snapshotHost(dir.path)
  const where = ['--registry', '127.0.0.1:1']
  const run = (...line: string[]) => runLine([...line, ...where], { environment })
  const installed = await run('mirror', 'install', '--podman')
  assert.equal(installed.exitCode, 0, installed.stderr)
  const path = join(dir.path, 'config/containers/registries.conf.d/50-ddocker.conf')
  assert.match(await readFile(path, 'utf8'), /location = "127\.0\.0\.1:1\/ghcr\.io"/)
  const { stdout } = await run('doctor', '--docker-host', 'none')
  assert.match(stdout, /^warn {2}mirror +podman: the node does not run$/m)
  await run('mirror', 'remove', '--podman')
  assert.deepEqual(await snapshotHost(dir.path), before)
  assert.doesNotMatch((await run('doctor', '--docker-host', 'none')).stdout, /mirror/)
})

test('says which file is in the way, and that nothing was changed', async () => {
  await using dir = await tempDir()
  await fillHost(dir.path, { 'etc/docker/daemon.json': '{,}' })
  const { stderr, exitCode } = await runLine(['mirror', 'install', '--root', dir.path])
  assert.equal(exitCode, 1)
  assert.match(stderr, /^error: \/etc\/docker\/daemon\.json: wanted a JSON object/)
  assert.match(stderr, /hint: Mend the file named above, .*nothing was changed\.\n$/)
})

test('says so where there is no engine', async () => {
  await using dir = await tempDir()
  const { stderr, exitCode } = await runLine(['mirror', 'install', '--root', dir.path])
  assert.equal(exitCode, 1)
  assert.match(stderr, /wanted an engine, found none/)
})

test('shows lines that were put in, and those that were written otherwise', () => {
  assert.deepEqual(changedLines('a\nb\nc\n', 'a\nx\nb\ny\n'), ['+ x', '- c', '+ y'])
  assert.deepEqual(changedLines('', 'a\n\nb'), ['+ a', '+', '+ b'])
  assert.deepEqual(changedLines('a\r\nb', 'a\r\nb'), [])
})
