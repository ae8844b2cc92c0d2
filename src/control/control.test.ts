import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, open, rename, rm, stat, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import { OperationError, type ErrorCode } from '../errors.ts'
import { silentLog } from '../telemetry/log.ts'
import { fakeOperations } from '../testing/fake-operations.ts'
import { connectNode } from './control-client.ts'
import type { BlobProgress, NodeOperations, ProgressEvent } from './control-protocol.ts'
import { ControlServer } from './control-server.ts'
import { controlSocketPath } from './control-socket.ts'

const never = new AbortController().signal
const quiet = { signal: never, report: () => undefined }

async function makeDataDir(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ddocker-control-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

// the user that root becomes to be refused
const NOBODY = 65_534

async function startNode(t: TestContext, given: Partial<NodeOperations>, dataDir?: string) {
  const path = dataDir ?? (await makeDataDir(t))
  const server = await ControlServer.open({
    dataDir: path,
    operations: fakeOperations(given),
    log: silentLog,
    drainMs: 50,
  })
  t.after(() => server[Symbol.asyncDispose]())
  return { dataDir: path, server, node: connectNode(path) }
}

function blob(done: number, digest = 'sha256:aa'): BlobProgress {
  const bytes = { store: 0, peers: done, upstream: 0 }
  return {
    type: 'blob',
    reference: 'app:1',
    digest,
    role: 'layer',
    size: 100,
    done,
    bytes,
    state: 'moving',
  }
}

/** Node's own HTTP client with a body of the test's choice; the text of the answer. */
async function post(dataDir: string, path: string, body: string, method = 'POST'): Promise<string> {
  const posted = request({ socketPath: controlSocketPath(dataDir), path, method, agent: false })
  posted.on('error', () => undefined).end(body)
  const [answer] = await once(posted, 'response')
  return (
    await (answer as NodeJS.ReadableStream & { toArray(): Promise<Buffer[]> }).toArray()
  ).join('')
}

const rejectsWith = (code: ErrorCode, message?: RegExp) => (error: unknown) => {
  assert.ok(error instanceof OperationError, String(error))
  assert.equal(error.code, code)
  if (message) assert.match(error.message, message)
  return true
}

test('a request, its progress and its result go through the socket unchanged', async (t) => {
  const requests: unknown[] = []
  const result = {
    reference: 'app:1',
    digest: 'sha256:ab',
    size: 9,
    bytes: blob(9).bytes,
    ms: 1,
    loaded: true,
  }
  const events: ProgressEvent[] = [
    { type: 'image', reference: 'app:1', state: 'resolving' },
    { ...blob(100), state: 'done' },
    {
      type: 'node',
      nodeName: 'b',
      nodeId: 'bb',
      address: '127.0.0.1:1',
      state: 'done',
      size: 1,
      done: 1,
      bytes: blob(1).bytes,
    },
  ]
  const { node } = await startNode(t, {
    pull: (request, { report }) => {
      requests.push(request)
      for (const event of events) report(event)
      return Promise.resolve(result)
    },
  })
  const seen: ProgressEvent[] = []
  const found = await node.pull(
    { reference: 'app:1', load: true },
    { signal: never, report: (event) => seen.push(event) },
  )
  assert.deepEqual(found, result)
  assert.deepEqual(requests, [{ reference: 'app:1', load: true }])
  assert.deepEqual(seen, events)
})

test('the socket is for its owner only, and goes with the node', async (t) => {
  const { dataDir, server } = await startNode(t, {})
  const { mode } = await stat(controlSocketPath(dataDir))
  assert.equal(mode & 0o777, 0o600)
  await server[Symbol.asyncDispose]()
  await assert.rejects(stat(controlSocketPath(dataDir)), { code: 'ENOENT' })
})

test('an OperationError arrives with its code, message and details', async (t) => {
  const { node } = await startNode(t, {
    pull: () => {
      throw new OperationError('IMAGE_UNKNOWN', 'nobody holds app:1', { details: { asked: 3 } })
    },
  })
  await assert.rejects(node.pull({ reference: 'app:1', load: false }, quiet), (error) => {
    rejectsWith('IMAGE_UNKNOWN')(error)
    assert.deepEqual((error as OperationError).toJSON(), {
      code: 'IMAGE_UNKNOWN',
      message: 'nobody holds app:1',
      hint: new OperationError('IMAGE_UNKNOWN', '').hint,
      details: { asked: 3 },
    })
    return true
  })
})

test('a mistake in the node is told as one, without its stack', async (t) => {
  const { node } = await startNode(t, { list: () => Promise.reject(new TypeError('x is not y')) })
  await assert.rejects(node.list({}, quiet), rejectsWith('NODE_FAILED', /^x is not y$/))
})

test('a code that this version does not know becomes NODE_FAILED', async (t) => {
  const dataDir = await makeDataDir(t)
  const error = { code: 'FROM_THE_FUTURE', message: 'm', hint: 'h', details: {} }
  await answerRaw(t, dataDir, `${JSON.stringify({ type: 'error', error })}\n`)
  await assert.rejects(connectNode(dataDir).list({}, quiet), rejectsWith('NODE_FAILED', /^m$/))
})

test('an operation that the node lacks is unknown', async (t) => {
  const { node } = await startNode(t, {})
  await assert.rejects(node.gc({ dryRun: true }, quiet), rejectsWith('OPERATION_UNKNOWN', /gc/))
})

test('without a node, and with what a killed node left behind, no node is running', async (t) => {
  const dataDir = await makeDataDir(t)
  await assert.rejects(connectNode(dataDir).list({}, quiet), rejectsWith('NODE_NOT_RUNNING'))
  await writeFile(controlSocketPath(dataDir), 'not a socket')
  await assert.rejects(connectNode(dataDir).list({}, quiet), rejectsWith('NODE_NOT_RUNNING'))
  const missing = connectNode(join(dataDir, 'missing'))
  await assert.rejects(missing.list({}, quiet), rejectsWith('NODE_NOT_RUNNING', /missing/))
})

test('a node replaces the socket of a killed one, but not that of a running one', async (t) => {
  const dataDir = await makeDataDir(t)
  await leaveStaleSocket(dataDir)
  await assert.rejects(connectNode(dataDir).list({}, quiet), rejectsWith('NODE_NOT_RUNNING'))
  const { node } = await startNode(t, {}, dataDir)
  assert.deepEqual(await node.list({}, quiet), { images: [] })
  await assert.rejects(startNode(t, {}, dataDir), rejectsWith('DATA_DIR_IN_USE'))
  assert.deepEqual(await node.list({}, quiet), { images: [] })
})

test('a data directory that is too deep for a socket address works all the same', async (t) => {
  const dataDir = join(await makeDataDir(t), ...Array.from({ length: 8 }, () => 'd'.repeat(30)))
  await mkdir(dataDir, { recursive: true })
  const { node, server } = await startNode(t, {}, dataDir)
  assert.deepEqual(await node.list({}, quiet), { images: [] })
  await server[Symbol.asyncDispose]()
  await assert.rejects(stat(controlSocketPath(dataDir)), { code: 'ENOENT' })
  await assert.rejects(node.list({}, quiet), rejectsWith('NODE_NOT_RUNNING'))
})

test('a directory that is not there is unusable', async (t) => {
  const dataDir = join(await makeDataDir(t), 'missing')
  await assert.rejects(startNode(t, {}, dataDir), rejectsWith('DATA_DIR_UNUSABLE', /ENOENT|EACCES/))
  const deep = join(dataDir, 'd'.repeat(120))
  await assert.rejects(startNode(t, {}, deep), rejectsWith('DATA_DIR_UNUSABLE', /ENOENT|EACCES/))
})

test('a socket of another user is told as such', async (t) => {
  const { dataDir, node } = await startNode(t, {})
  await chmod(controlSocketPath(dataDir), 0)
  const isRoot = process.getuid?.() === 0
  if (isRoot) process.seteuid?.(NOBODY)
  try {
    await assert.rejects(node.list({}, quiet), rejectsWith('NODE_PERMISSION'))
  } finally {
    if (isRoot) process.seteuid?.(0)
  }
})

test('a client that goes away aborts the operation', async (t) => {
  const started = Promise.withResolvers<void>()
  const aborted = Promise.withResolvers<unknown>()
  const { node } = await startNode(t, {
    seedAll: async (_, { signal }) => {
      started.resolve()
      await once(signal, 'abort')
      aborted.resolve(signal.reason)
      throw signal.reason
    },
  })
  const leaving = new AbortController()
  const call = node.seedAll({ watch: true }, { signal: leaving.signal, report: () => undefined })
  await started.promise
  leaving.abort(new OperationError('INTERRUPTED', 'interrupted'))
  await assert.rejects(call, rejectsWith('INTERRUPTED'))
  assert.match(String(await aborted.promise), /client has gone/)
})

test('a node that is stopped tells its clients and waits for nobody', async (t) => {
  const started = Promise.withResolvers<void>()
  const { node, server } = await startNode(t, {
    seedAll: async () => {
      started.resolve()
      return new Promise(() => undefined)
    },
    pull: async (_, { signal }) => {
      await once(signal, 'abort')
      throw signal.reason
    },
  })
  const pulls = assert.rejects(
    node.pull({ reference: 'a', load: false }, quiet),
    rejectsWith('NODE_UNREACHABLE', /stopped/),
  )
  const deaf = assert.rejects(node.seedAll({ watch: true }, quiet), rejectsWith('NODE_UNREACHABLE'))
  await started.promise
  await server[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await Promise.all([pulls, deaf])
})

test('a connection that breaks before the answer makes the node unreachable', async (t) => {
  for (const [index, begin] of ['', '{"type":"alive"}\n', '{"type":"resu'].entries()) {
    const dataDir = join(await makeDataDir(t), String(index))
    await mkdir(dataDir)
    await answerRaw(t, dataDir, begin)
    const call = connectNode(dataDir).list({}, quiet)
    await assert.rejects(call, rejectsWith('NODE_UNREACHABLE'), `after ${begin}`)
  }
})

test('a program that is not ddocker is told as such', async (t) => {
  const dataDir = await makeDataDir(t)
  await answerRaw(t, dataDir, 'hello\n')
  const call = connectNode(dataDir).list({}, quiet)
  await assert.rejects(call, rejectsWith('NODE_UNREACHABLE', /"hello"/))
})

test('requests that are no requests get an error line and change nothing', async (t) => {
  const { dataDir, node } = await startNode(t, {})
  const cases: [string, string, ErrorCode, method?: string][] = [
    ['/v1/pull', '{"reference":', 'MESSAGE_INVALID'],
    ['/v1/pull', '[]', 'MESSAGE_INVALID'],
    ['/v1/pull', '{"reference":7}', 'MESSAGE_INVALID'],
    ['/v1/pull', '{"reference":"a","load":"yes"}', 'MESSAGE_INVALID'],
    ['/v1/pull', 'x'.repeat(2 * 1024 * 1024), 'MESSAGE_INVALID'],
    ['/v1/import', '{"path":"relative"}', 'MESSAGE_INVALID'],
    ['/v1/import', '{"path":"/a\\u0000b"}', 'MESSAGE_INVALID'],
    ['/v1/warm', '{"references":["a"],"parallel":0}', 'MESSAGE_INVALID'],
    ['/v1/seed', '{"references":[]}', 'MESSAGE_INVALID'],
    ['/v1/swarmRotate', '{}', 'MESSAGE_INVALID'],
    ['/v1/swarmRotate', '{"overlapMs":-1}', 'MESSAGE_INVALID'],
    ['/v1/swarmRotate', '{"overlapMs":9999999999999}', 'MESSAGE_INVALID'],
    ['/v1/swarmRevoke', '{"nodes":[]}', 'MESSAGE_INVALID'],
    ['/v1/nonsense', '{}', 'OPERATION_UNKNOWN'],
    ['/v1/constructor', '{}', 'OPERATION_UNKNOWN'],
    ['/v1/list', '', 'OPERATION_UNKNOWN', 'GET'],
    ['/', '', 'OPERATION_UNKNOWN'],
  ]
  for (const [path, body, code, method] of cases) {
    const lines = (await post(dataDir, path, body, method)).trim().split('\n')
    const last = JSON.parse(lines.at(-1) ?? '') as { type: string; error: { code: string } }
    assert.equal(last.type, 'error', path)
    assert.equal(last.error.code, code, `${path} ${body.slice(0, 40)}`)
  }
  assert.deepEqual(await node.list({}, quiet), { images: [] })
})

test('a reader that is behind gets the newest states and the result, in bounded memory', async (t) => {
  const reported = Promise.withResolvers<void>()
  const result = { images: [], failed: [] }
  const total = 200_000
  const { dataDir } = await startNode(t, {
    seed: async (_, { report }) => {
      for (let done = 1; done <= total; done += 1) {
        report({ ...blob(done, `sha256:${done % 3}`), state: 'waiting' })
      }
      reported.resolve()
      return Promise.resolve(result)
    },
  })
  const posted = request({
    socketPath: controlSocketPath(dataDir),
    path: '/v1/seed',
    method: 'POST',
    agent: false,
  })
  posted.end('{"references":["a"]}')
  const [answer] = await once(posted, 'response')
  await reported.promise
  const text: string = (await answer.toArray()).join('')
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; done: number })
  assert.deepEqual(lines.at(-1), { type: 'result', result })
  assert.deepEqual(
    lines
      .slice(-4, -1)
      .map(({ done }) => done)
      .sort((a, b) => a - b),
    [total - 2, total - 1, total],
  )
  assert.ok(text.length < 1024 * 1024, `${text.length} bytes`)
})

/** What a process that was killed leaves behind. */
async function leaveStaleSocket(dataDir: string): Promise<void> {
  const beside = join(dataDir, 'beside.sock')
  const server = createServer().listen(beside)
  await once(server, 'listening')
  await rename(beside, controlSocketPath(dataDir))
  server.close()
  await once(server, 'close')
}

/** A server on the control socket that sends `text` as the body of its answer and breaks off. */
async function answerRaw(t: TestContext, dataDir: string, text: string): Promise<void> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket
      .on('error', () => undefined)
      .once('data', () => {
        const head = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'
        const chunk = text && `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`
        socket.write(head + chunk, () => socket.destroy())
      })
  }).listen(controlSocketPath(dataDir))
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
}

test('the descriptor of a deep data directory is given back', async (t) => {
  const dataDir = join(await makeDataDir(t), 'd'.repeat(120))
  await mkdir(dataDir)
  const { node } = await startNode(t, {}, dataDir)
  const next = async () => {
    await using file = await open(dataDir)
    return file.fd
  }
  await node.list({}, quiet)
  const before = await next()
  for (let round = 0; round < 20; round += 1) await node.list({}, quiet)
  assert.equal(await next(), before)
})
