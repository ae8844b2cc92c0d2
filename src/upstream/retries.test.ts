import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import {
  askAs,
  IMPATIENT_TIMES,
  openUpstreamFixture,
  QUICK_TIMES,
  type UpstreamFixture,
} from '../testing/upstream-fixture.ts'
import { openUpstream } from './open-upstream.ts'

const resolve = (t: UpstreamFixture, signal?: AbortSignal) =>
  t.upstream.resolve(t.repository, '1', { ...askAs(), ...(signal && { signal }) })

/** A TCP server that is no registry. */
async function listen(onSocket: (socket: Socket) => void) {
  let connectionCount = 0
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    connectionCount += 1
    sockets.add(socket)
    socket.on('error', () => undefined)
    onSocket(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const host = `127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  const upstream = await openUpstream({ insecureHosts: [host], times: IMPATIENT_TIMES })
  return {
    repository: { registry: host, repository: 'team/app' },
    upstream,
    connections: () => connectionCount,
    stop: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
    [Symbol.asyncDispose]: async () => {
      await upstream[Symbol.asyncDispose]()
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

async function failureOf(work: Promise<unknown>) {
  const thrown: unknown = await work.then(
    () => assert.fail('it succeeded'),
    (error: unknown) => error,
  )
  assert.ok(isOperationError(thrown), String(thrown))
  return thrown
}

for (const status of [500, 502, 503, 504]) {
  test(`${status} is tried again twice`, async () => {
    await using t = await openUpstreamFixture()
    t.server.hook = (_, response) => {
      if (t.server.requests.length > 2) return false
      response.writeHead(status).end()
      return true
    }
    assert.ok(await resolve(t))
    assert.equal(t.server.requests.length, 3)
  })
}

test('a registry that goes on failing is unreachable, and is asked again by the next question', async () => {
  await using t = await openUpstreamFixture()
  t.server.hook = (_, response) => {
    response.writeHead(500).end('canary')
    return true
  }
  const { code, message, details } = await failureOf(resolve(t))
  assert.equal(code, 'UPSTREAM_UNREACHABLE')
  assert.equal(message, `registry ${t.server.host}: it answered 500`)
  assert.deepEqual(details, { host: t.server.host, reason: 'server', status: 500 })
  assert.equal(t.server.requests.length, 3)
  t.server.hook = undefined
  assert.ok(await resolve(t))
})

test('501 and 505 are not tried again', async () => {
  await using t = await openUpstreamFixture()
  for (const status of [501, 505]) {
    t.server.hook = (_, response) => {
      response.writeHead(status).end()
      return true
    }
    assert.equal((await failureOf(resolve(t))).code, 'UPSTREAM_UNREACHABLE')
  }
  assert.equal(t.server.requests.length, 2)
})

test('a connection that closes without an answer is tried again', async () => {
  await using t = await openUpstreamFixture()
  t.server.hook = (_, response) => {
    if (t.server.requests.length > 2) return false
    response.destroy()
    return true
  }
  assert.ok(await resolve(t))
  assert.equal(t.server.requests.length, 3)
})

test('a registry that is down is tried three times, then not at all for two seconds', async () => {
  await using t = await openUpstreamFixture()
  const { host } = t.server
  await t.server[Symbol.asyncDispose]()
  const first = await failureOf(resolve(t))
  assert.equal(first.code, 'UPSTREAM_UNREACHABLE')
  assert.deepEqual(first.details, { host, reason: 'connection', systemCode: 'ECONNREFUSED' })
  const second = await failureOf(resolve(t))
  assert.match(second.message, /no connection \(ECONNREFUSED\); not asked again for \d+ ms$/)
  const { retryAfterMs } = second.details
  assert.ok(typeof retryAfterMs === 'number' && retryAfterMs > 1000 && retryAfterMs <= 2000)
  t.passMs(2000)
  const third = await failureOf(resolve(t))
  assert.equal(third.details['retryAfterMs'], undefined)
  assert.ok(Number((await failureOf(resolve(t))).details['retryAfterMs']) > 2000)
})

test('a registry that says nothing is asked once, and given up at the first deadline', async () => {
  await using t = await listen(() => undefined)
  const failure = await failureOf(t.upstream.resolve(t.repository, '1', askAs()))
  assert.equal(failure.code, 'UPSTREAM_UNREACHABLE')
  assert.equal(failure.details['systemCode'], 'UND_ERR_HEADERS_TIMEOUT')
  assert.equal(t.connections(), 1)
  await failureOf(t.upstream.resolve(t.repository, '1', askAs()))
  assert.equal(t.connections(), 1)
})

test('headers that come a byte at a time do not hold a question for ever', async () => {
  const timers = new Set<NodeJS.Timeout>()
  await using t = await listen((socket) => {
    socket.write('HTTP/1.1 200 OK\r\nx: ')
    const timer = setInterval(() => socket.write('x'), 20)
    timers.add(timer)
    socket.on('close', () => clearInterval(timer))
  })
  const failure = await failureOf(t.upstream.resolve(t.repository, '1', askAs()))
  assert.equal(failure.code, 'UPSTREAM_UNREACHABLE')
  for (const timer of timers) clearInterval(timer)
})

const NO_HTTP: readonly [string, string][] = [
  ['what is not HTTP', 'SSH-2.0-OpenSSH_9.2p1\r\n'],
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello'],
  ['a length that is no number', 'HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello'],
  [
    'a length and chunks',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
  ],
  ['100 kB of headers', `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`],
]

for (const [what, answer] of NO_HTTP) {
  test(`an answer with ${what} is none`, async () => {
    await using t = await listen((socket) => socket.once('data', () => socket.write(answer)))
    const failure = await failureOf(t.upstream.resolve(t.repository, '1', askAs()))
    // the HTTP client calls two lengths a connection that broke
    const isBroken = what.includes('two') || what.includes('chunks')
    assert.equal(failure.code, isBroken ? 'UPSTREAM_UNREACHABLE' : 'UPSTREAM_FAULTY')
    assert.doesNotMatch(JSON.stringify(failure), /OpenSSH|hello|xxx/)
  })
}

test('an answer to a HEAD that has a body does not reach the next question', async () => {
  await using t = await openUpstreamFixture()
  t.server.hook = ({ method }, response) => {
    if (method !== 'HEAD' || !response.socket) return false
    response.socket.write(
      'HTTP/1.1 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 30\r\n\r\nHTTP/1.1 404 x\r\nContent-Length:0\r\n\r\n',
    )
    return true
  }
  assert.equal(await resolve(t), undefined)
  const manifest = await t.upstream.manifest(t.repository, t.manifestDigest, askAs())
  assert.deepEqual(manifest?.bytes, t.manifest)
})

test('429 with a short Retry-After is waited out, once', async () => {
  await using t = await openUpstreamFixture({
    upstream: (host) => ({
      insecureHosts: [host],
      times: { ...QUICK_TIMES, maxRetryAfterMs: 2000 },
    }),
  })
  t.server.hook = (_, response) => {
    if (t.server.requests.length > 1) return false
    response.writeHead(429, { 'retry-after': '1' }).end()
    return true
  }
  const startedMs = performance.now()
  assert.ok(await resolve(t))
  assert.ok(performance.now() - startedMs >= 1000)
  assert.equal(t.server.requests.length, 2)
})

for (const status of [429, 503]) {
  test(`${status} with a long Retry-After is told at once, and kept`, async () => {
    await using t = await openUpstreamFixture()
    t.server.hook = (_, response) => {
      response.writeHead(status, { 'retry-after': '30' }).end()
      return true
    }
    const first = await failureOf(resolve(t))
    assert.equal(first.code, 'UPSTREAM_UNREACHABLE')
    assert.deepEqual(first.details, {
      host: t.server.host,
      reason: 'busy',
      status,
      retryAfterMs: 30_000,
    })
    t.passMs(29_000)
    const outcomes = await Promise.all(Array.from({ length: 100 }, () => failureOf(resolve(t))))
    assert.ok(outcomes.every(({ code }) => code === 'UPSTREAM_UNREACHABLE'))
    assert.equal(t.server.requests.length, 1)
    t.passMs(1000)
    await Promise.all(Array.from({ length: 100 }, () => failureOf(resolve(t))))
    assert.equal(t.server.requests.length, 2)
    t.server.hook = undefined
    t.passMs(30_000)
    const answers = await Promise.all(Array.from({ length: 100 }, () => resolve(t)))
    assert.ok(answers.every((answer) => answer?.digest === t.manifestDigest))
  })
}

test('429 without Retry-After is kept for five seconds', async () => {
  await using t = await openUpstreamFixture()
  t.server.hook = (_, response) => {
    response.writeHead(429).end()
    return true
  }
  assert.equal((await failureOf(resolve(t))).details['retryAfterMs'], 5000)
  await failureOf(resolve(t))
  assert.equal(t.server.requests.length, 1)
})

test('the signal ends a question at any time, with its reason', async () => {
  await using t = await openUpstreamFixture()
  const asked = Promise.withResolvers<void>()
  t.server.hook = () => {
    asked.resolve()
    return true
  }
  const controller = new AbortController()
  const question = resolve(t, controller.signal)
  await asked.promise
  controller.abort(new Error('enough'))
  await assert.rejects(question, { message: 'enough' })
  await assert.rejects(resolve(t, controller.signal), { message: 'enough' })
  assert.equal(t.server.requests.length, 1)
  t.server.hook = undefined
  assert.ok(await resolve(t), 'a question that was given up closes no way')
})

test('the signal ends the pause before another try', async () => {
  await using t = await openUpstreamFixture({
    upstream: (host) => ({
      insecureHosts: [host],
      times: { ...QUICK_TIMES, firstPauseMs: 60_000, lastPauseMs: 60_000 },
    }),
  })
  const asked = Promise.withResolvers<void>()
  t.server.hook = (_, response) => {
    response.writeHead(500).end(() => asked.resolve())
    return true
  }
  const controller = new AbortController()
  const question = resolve(t, controller.signal)
  await asked.promise
  controller.abort(new Error('enough'))
  await assert.rejects(question, { message: 'enough' })
})
