import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { linkedPair } from './message-link.ts'
import { RemoteCalls, type RemoteHandlers } from './remote-calls.ts'

interface Server {
  readonly calls: {
    double(value: number): number
    echo(value: unknown): unknown
    fail(code: 'known' | 'system' | 'plain'): void
    wait(argument: undefined): void
  }
  readonly streams: { count(to: number): number }
  readonly notes: { tell(text: string): void }
}
interface Client {
  readonly calls: object
  readonly streams: object
  readonly notes: object
}

const LOST = new OperationError('PEER_SIDE_LOST', 'gone')

function connect() {
  const pair = linkedPair()
  const told: string[] = []
  const stopped: unknown[] = []
  const counted: number[] = []
  const handlers: RemoteHandlers<Server> = {
    calls: {
      double: (value) => 2 * value,
      echo: (value) => value,
      fail: (code) => {
        if (code === 'known') {
          throw new OperationError('PORT_IN_USE', 'taken', { details: { port: 6881 } })
        }
        if (code === 'system') throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
        throw new RangeError('too far')
      },
      wait: async (_, { signal }) => {
        if (!signal.aborted) await once(signal, 'abort')
        stopped.push(signal.reason)
      },
    },
    streams: {
      async *count(to) {
        for (let at = 1; at <= to; at += 1) {
          counted.push(at)
          yield at
          await new Promise((resolve) => setImmediate(resolve))
        }
      },
    },
    notes: { tell: (text) => void told.push(text) },
  }
  const none: RemoteHandlers<Client> = { calls: {}, streams: {}, notes: {} }
  const client = new RemoteCalls<Server, Client>(pair[0], none, () => LOST)
  const server = new RemoteCalls<Client, Server>(pair[1], handlers, () => LOST)
  return { client, server, pair, told, stopped, counted }
}

test('a call is answered by the other end, with copies of what was given', async () => {
  const { client } = connect()
  const key = Buffer.from('a key')
  const given = { key, map: new Map([['a', 1]]), set: new Set(['b']), none: undefined }
  assert.equal(await client.call('double', 21), 42)
  const back = (await client.call('echo', given)) as typeof given
  assert.deepEqual(back, given)
  assert.notEqual(back.key, key)
})

test('a failure comes over as what it was', async () => {
  const { client } = connect()
  await assert.rejects(client.call('fail', 'known'), (error) => {
    assert.ok(error instanceof OperationError)
    assert.deepEqual(
      [error.code, error.message, error.details],
      ['PORT_IN_USE', 'taken', { port: 6881 }],
    )
    return true
  })
  await assert.rejects(client.call('fail', 'system'), { code: 'ENOENT', message: 'no such file' })
  await assert.rejects(client.call('fail', 'plain'), { name: 'RangeError', message: 'too far' })
  await assert.rejects(client.call('unknown' as 'double', 1), /nobody answers calls unknown/)
})

test('a stream comes in its order, and ends at the other end when nobody reads on', async () => {
  const { client, counted } = connect()
  assert.deepEqual(await Array.fromAsync(client.stream('count', 3)), [1, 2, 3])
  for await (const at of client.stream('count', 1_000_000)) if (at === 2) break
  await client.call('double', 1)
  const { length } = counted
  for (let turn = 0; turn < 20; turn += 1) await client.call('double', 1)
  assert.ok(counted.length <= length + 1, 'it goes on counting')
})

test('a signal ends a call here at once, and there', async () => {
  const { client, stopped } = connect()
  const stop = new AbortController()
  const waiting = client.call('wait', undefined, { signal: stop.signal })
  const reading = client.stream('count', 1_000_000, { signal: stop.signal }).next()
  await reading
  stop.abort(new Error('enough'))
  await assert.rejects(waiting, { message: 'enough' })
  await client.call('double', 1)
  assert.equal(stopped.length, 1)
  await assert.rejects(client.call('double', 1, { signal: stop.signal }), { message: 'enough' })
})

test('a note is told, in its place among the calls', async () => {
  const { client, told } = connect()
  client.note('tell', 'first')
  await client.call('double', 1)
  assert.deepEqual(told, ['first'])
})

test('when the link ends, all that is under way and all that comes later fails with that', async () => {
  const { client, pair, stopped } = connect()
  const waiting = client.call('wait', undefined)
  const stream = client.stream('count', 1_000_000)
  await stream.next()
  pair[Symbol.dispose]()
  await assert.rejects(waiting, LOST)
  await assert.rejects(Array.fromAsync(stream), LOST)
  await assert.rejects(client.call('double', 1), LOST)
  client.note('tell', 'nobody')
  assert.deepEqual(stopped, [LOST])
})
