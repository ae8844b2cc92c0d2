import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'

import { Metrics } from '../telemetry/metrics.ts'
import { httpRequest } from '../testing/http-request.ts'
import {
  MemoryStatusSource,
  sampleImage,
  samplePeer,
  sampleStatus,
  sampleTransfer,
} from '../testing/memory-status-source.ts'
import { openDoor } from '../testing/open-door.ts'
import { RawHttp } from '../testing/raw-http.ts'
import { createStatusRoutes } from './status-routes.ts'

type RouteOptions = Partial<Parameters<typeof createStatusRoutes>[0]>

/** The status routes behind a door, as a node mounts them. */
async function openStatus(options: RouteOptions = {}) {
  const source = new MemoryStatusSource()
  const metrics = new Metrics({ withProcess: false })
  const pages = [createStatusRoutes({ source, metrics, ...options })]
  const door = await openDoor({ pages, metrics })
  return {
    source,
    metrics,
    door,
    get: door.get,
    [Symbol.asyncDispose]: () => door[Symbol.asyncDispose](),
  }
}

test('tells status and lists as JSON', async () => {
  await using node = await openStatus()
  const { source } = node
  source.heldImages = [sampleImage()]
  source.knownPeers = [samplePeer()]
  source.recentTransfers = [sampleTransfer()]
  const documents = {
    '/api/v1/status': sampleStatus(),
    '/api/v1/images': { images: [sampleImage()] },
    '/api/v1/peers': { peers: [samplePeer()] },
    '/api/v1/transfers': { transfers: [sampleTransfer()] },
  }
  for (const [path, document] of Object.entries(documents)) {
    const answer = await node.get(path)
    assert.equal(answer.status, 200)
    assert.equal(answer.headers['content-type'], 'application/json')
    assert.equal(answer.headers['cache-control'], 'no-store')
    assert.deepEqual(JSON.parse(answer.body.toString()), document)
  }
})

test('says whether it lives and whether it is ready', async () => {
  await using node = await openStatus()
  assert.equal((await node.get('/healthz')).status, 200)
  assert.equal((await node.get('/readyz')).status, 200)
  node.source.isUp = false
  node.source.failure = new Error('the catalog is closed')
  assert.equal((await node.get('/healthz')).status, 200)
  assert.equal((await node.get('/readyz')).status, 503)
})

test('shows the page to people', async () => {
  await using node = await openStatus()
  const answer = await node.get('/')
  assert.equal(answer.status, 200)
  assert.equal(answer.headers['content-type'], 'text/html; charset=utf-8')
  assert.match(String(answer.headers['content-security-policy']), /default-src 'none'/)
  assert.match(answer.body.toString(), /^<!doctype html>/)
})

test('exports counters and levels for Prometheus, with requests by route', async () => {
  await using node = await openStatus()
  node.source.current = sampleStatus({ peers: 4, blobs: { count: 7, bytes: 900 } })
  node.metrics.countBlobBytes('peers', 1000)
  await node.get('/v2/')
  const answer = await node.get('/metrics')
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  const text = answer.body.toString()
  assert.match(text, /^ddocker_blob_bytes_total\{source="peers"\} 1000$/m)
  assert.match(text, /^ddocker_peers 4$/m)
  assert.match(text, /^ddocker_blobs 7$/m)
  assert.match(text, /^ddocker_http_request_seconds_count\{route="ping",status="2xx"\} 1$/m)
})

test('goes on to tell what was counted when the levels cannot be told', async () => {
  await using node = await openStatus()
  node.source.failure = new Error('the catalog is closed')
  const answer = await node.get('/metrics')
  assert.equal(answer.status, 200)
  assert.match(answer.body.toString(), /ddocker_transfers_total/)
})

test('answers 500 in JSON when a question fails, 503 while the node starts', async () => {
  await using node = await openStatus()
  node.source.failure = new Error('the catalog is closed')
  for (const path of ['/', '/api/v1/status', '/api/v1/images']) {
    const answer = await node.get(path)
    assert.equal(answer.status, 500)
    assert.deepEqual(JSON.parse(answer.body.toString()), {
      error: { message: 'the catalog is closed' },
    })
  }
  node.source.isUp = false
  assert.equal((await node.get('/api/v1/status')).status, 503)
})

test('only reads', async () => {
  await using node = await openStatus()
  for (const path of ['/', '/api/v1/status', '/api/v1/events', '/metrics', '/healthz']) {
    const answer = await node.door.request('POST', path)
    assert.equal(answer.status, 405)
    assert.equal(answer.headers.allow, 'GET, HEAD')
    const head = await node.door.request('HEAD', path)
    assert.equal(head.status, 200)
    assert.equal(head.body.length, 0)
  }
  assert.equal(node.source.listenerCount, 0)
})

test('stands behind the guard of the door', async () => {
  await using node = await openStatus()
  assert.equal((await node.get('/api/v1/images', { Host: 'evil.example' })).status, 421)
  assert.equal((await node.get('/', { Origin: 'http://evil.example' })).status, 403)
})

/** A client of the events, past the first line. */
async function listenTo(port: number) {
  const client = await RawHttp.open(port)
  client.request('GET', '/api/v1/events')
  const head = await client.readHead()
  return { client, head, [Symbol.dispose]: () => client[Symbol.dispose]() }
}

/** Reads until `text` has come. */
async function readUntil(client: RawHttp, text: string): Promise<string> {
  let read = ''
  while (!read.includes(text)) read += (await client.readBytes(1)).toString('latin1')
  return read
}

test('sends what happens as events, and a heartbeat', async () => {
  await using node = await openStatus({ heartbeatMs: 5 })
  using listener = await listenTo(node.door.port)
  assert.equal(listener.head.status, 200)
  assert.equal(listener.head.headers['content-type'], 'text/event-stream')
  await readUntil(listener.client, 'retry: 2000\n\n')
  await readUntil(listener.client, ': alive\n\n')
  const transfer = sampleTransfer({ code: 'line\nbreak' })
  node.source.send({ type: 'transfer', transfer })
  await readUntil(listener.client, 'event: transfer\ndata: ')
  const line = await readUntil(listener.client, '\n\n')
  assert.deepEqual(JSON.parse(line), { type: 'transfer', transfer })
})

test('forgets a listener that goes away, and takes no more than it has room for', async () => {
  await using node = await openStatus({ maxEventClients: 1 })
  const { get, source, door } = node
  const first = await listenTo(door.port)
  assert.equal((await get('/api/v1/events')).status, 503)
  first.client.socket.destroy()
  while (source.listenerCount > 0) await new Promise(setImmediate)
  using again = await listenTo(door.port)
  assert.equal(again.head.status, 200)
})

test('drops a listener that does not read', async () => {
  await using node = await openStatus()
  using listener = await listenTo(node.door.port)
  const failure = { atMs: 0, code: 'X', message: 'x'.repeat(100_000), hint: '' }
  while (node.source.listenerCount > 0) {
    node.source.send({ type: 'failure', failure })
    await new Promise(setImmediate)
  }
  assert.ok((await listener.client.readToEnd()).bytes.length > 0)
})

test('ends the events when the node stops, so that the server drains at once', async () => {
  const stopping = new AbortController()
  await using node = await openStatus({ signal: stopping.signal })
  using listener = await listenTo(node.door.port)
  const ended = once(listener.client.socket, 'end')
  stopping.abort()
  await node.door.server.drain({ timeoutMs: 60_000 })
  listener.client.socket.resume()
  await ended
  assert.equal(node.source.listenerCount, 0)
})

test('leaves other paths to the registry', async () => {
  await using node = await openStatus()
  const answer = await httpRequest({ port: node.door.port, path: '/api/v1/nothing' })
  assert.equal(answer.status, 404)
  assert.equal((await node.get('/v2/')).body.toString(), '{}')
})
