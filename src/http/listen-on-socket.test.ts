import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { httpRequest } from '../testing/http-request.ts'
import { listenOnSocket } from './listen-on-socket.ts'

const UMASK = process.umask()

async function tempSocket() {
  const directory = await mkdtemp(join(tmpdir(), 'ddocker-socket-'))
  return {
    path: join(directory, 'control.sock'),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  }
}

const open = (socketPath: string) =>
  listenOnSocket((_request, response) => void response.end('hello'), socketPath)

test('answers on a socket that only its owner may open, and removes it at the end', async () => {
  await using temp = await tempSocket()
  const server = await open(temp.path)
  assert.deepEqual(server.addresses, [temp.path])
  assert.equal((await stat(temp.path)).mode & 0o777, 0o600)
  const answer = await httpRequest({ port: 0, socketPath: temp.path, path: '/' })
  assert.equal(answer.body.toString(), 'hello')
  await server.drain()
  await assert.rejects(stat(temp.path), { code: 'ENOENT' })
})

test('leaves the umask of the process as it was', async () => {
  await using temp = await tempSocket()
  const server = await open(temp.path)
  assert.equal(process.umask(), UMASK)
  await server.drain()
})

test('replaces the socket of a node that died', async () => {
  await using temp = await tempSocket()
  await leaveStaleSocket(temp.path)
  await using server = await open(temp.path)
  const answer = await httpRequest({ port: 0, socketPath: temp.path, path: '/' })
  assert.equal(answer.status, 200)
  assert.deepEqual(server.addresses, [temp.path])
})

test('leaves the socket of a living node alone', async () => {
  await using temp = await tempSocket()
  await using other = createServer().listen(temp.path)
  await once(other, 'listening')
  await assert.rejects(open(temp.path), { code: 'DATA_DIR_IN_USE' })
  assert.ok((await stat(temp.path)).isSocket())
})

test('leaves another kind of file alone', async () => {
  await using temp = await tempSocket()
  await writeFile(temp.path, 'somebody needs this')
  await assert.rejects(open(temp.path), { code: 'ADDRESS_UNUSABLE' })
  assert.ok((await stat(temp.path)).isFile())
})

test('refuses a path that is too long for a socket, and a folder that is not there', async () => {
  await using temp = await tempSocket()
  await assert.rejects(open(`${temp.path}${'x'.repeat(108)}`), { code: 'ADDRESS_UNUSABLE' })
  await assert.rejects(open(join(temp.path, 'nowhere')), { code: 'ADDRESS_UNUSABLE' })
})

/** The file of a socket whose process was killed. */
async function leaveStaleSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  const child = spawn(process.execPath, ['-e', script])
  await once(child, 'exit')
  assert.ok((await stat(path)).isSocket())
}
