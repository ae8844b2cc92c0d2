import assert from 'node:assert/strict'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { DockerDaemon } from './docker-daemon.ts'
import { startFakeEngine } from '../testing/fake-engine.ts'
import { followImageEvents, parseImageEvent, type ImageEvent } from './image-events.ts'

const ID = `sha256:${'a'.repeat(64)}`
const SECOND = 1_700_000_000n * 1_000_000_000n

function line(action: string, nano: bigint, name?: string, id = ID): string {
  const attributes = name === undefined ? {} : { name }
  const actor = JSON.stringify({ ID: id, Attributes: attributes })
  return `{"Type":"image","Action":"${action}","Actor":${actor},"time":1,"timeNano":${nano}}`
}

/** Connections that bring the given lines and then end, one after another; then nothing more. */
function connections(...scripts: (readonly string[] | Error)[]) {
  const opened: (string | undefined)[] = []
  const open = async (since: string | undefined) => {
    const script = scripts[opened.length]
    opened.push(since)
    if (script instanceof Error) throw script
    return (async function* () {
      for (const text of script ?? []) yield Buffer.from(`${text}\n`)
    })()
  }
  return { open, opened }
}

async function take(events: AsyncIterable<ImageEvent>, count: number): Promise<ImageEvent[]> {
  const taken: ImageEvent[] = []
  for await (const event of events) {
    taken.push(event)
    if (taken.length === count) break
  }
  return taken
}

const gone = new OperationError('ENGINE_UNAVAILABLE', 'stopped')

test('tells what happened to which image, exact to the nanosecond', async () => {
  const { open, opened } = connections([
    line('pull', SECOND + 1n, 'alpine', 'alpine:3'),
    line('tag', SECOND + 2n, 'app:1'),
    line('load', SECOND + 3n, ID),
    line('delete', SECOND + 4n),
  ])
  assert.deepEqual(await take(followImageEvents({ open, sinceMs: 1500 }), 4), [
    { action: 'pull', id: 'alpine:3', name: 'alpine:3', timeNano: SECOND + 1n },
    { action: 'tag', id: ID, name: 'app:1', timeNano: SECOND + 2n },
    { action: 'load', id: ID, timeNano: SECOND + 3n },
    { action: 'delete', id: ID, timeNano: SECOND + 4n },
  ])
  assert.deepEqual(opened, ['1.500'])
})

test('goes on after a lost connection, says resync and repeats nothing', async () => {
  const { open, opened } = connections([line('tag', SECOND + 7n, 'a:1')], gone, gone, [
    line('tag', SECOND + 7n, 'a:1'),
    line('tag', SECOND + 8n, 'a:2'),
  ])
  const events = await take(followImageEvents({ open, minDelayMs: 0 }), 3)
  assert.deepEqual(events, [
    { action: 'tag', id: ID, name: 'a:1', timeNano: SECOND + 7n },
    { action: 'resync' },
    { action: 'tag', id: ID, name: 'a:2', timeNano: SECOND + 8n },
  ])
  const since = '1700000000.000000007'
  assert.deepEqual(opened, [undefined, since, since, since])
})

test('says resync also when the engine was not there at first', async () => {
  const { open } = connections(gone, [line('tag', SECOND, 'a:1')])
  const events = await take(followImageEvents({ open, minDelayMs: 0 }), 2)
  assert.deepEqual(
    events.map(({ action }) => action),
    ['resync', 'tag'],
  )
})

test('follows a clock that was set back', async () => {
  const { open } = connections([line('tag', SECOND + 9n, 'a:1'), line('tag', SECOND, 'a:2')])
  assert.equal((await take(followImageEvents({ open }), 2)).length, 2)
})

test('throws what no waiting mends', async () => {
  const refused = new OperationError('ENGINE_PERMISSION', 'not yours')
  const { open } = connections(refused)
  await assert.rejects(take(followImageEvents({ open }), 1), (error) => error === refused)
})

test('throws the reason of its signal while it waits to try again', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const open = async () => {
    setImmediate(() => controller.abort(reason))
    throw gone
  }
  const following = followImageEvents({ open, signal: controller.signal, minDelayMs: 60_000 })
  await assert.rejects(take(following, 1), (error) => error === reason)
})

for (const [what, text] of [
  ['what is no JSON', 'garbage'],
  [
    'an event of a container',
    '{"Type":"container","Action":"create","Actor":{"ID":"x"},"timeNano":1}',
  ],
  ['our own export', line('save', 1n)],
  ['an event without a time', '{"Type":"image","Action":"pull","Actor":{"ID":"x"}}'],
  ['an event of nothing', '{"Type":"image","Action":"pull","timeNano":1}'],
] as const) {
  test(`passes over ${what}`, () => assert.equal(parseImageEvent(text), undefined))
}

test('is not misled by a label that looks like the time', () => {
  const actor = { ID: ID, Attributes: { 'x"timeNano': '"timeNano":5', timeNano: '6' } }
  const text = `{"Type":"image","Action":"tag","Actor":${JSON.stringify(actor)},"timeNano":7}`
  assert.equal(parseImageEvent(text)?.timeNano, 7n)
})

test('asks the engine for the events of images and not for exports, through a restart of it', async () => {
  const bodies = [line('tag', SECOND + 1n, 'a:1'), line('tag', SECOND + 2n, 'a:2')]
  const answered = Promise.withResolvers<undefined>()
  await using engine = await startFakeEngine({
    'GET /events': (_request, response) => {
      response.write(`${bodies.shift()}\n`)
      answered.resolve(undefined)
    },
  })
  const daemon = await DockerDaemon.connect({ host: engine.host })
  const taking = take(daemon.events({ sinceMs: 5000 }), 3)
  await answered.promise
  await engine.stop()
  await engine.start()
  assert.deepEqual(
    (await taking).map((event) => ('name' in event ? event.name : event.action)),
    ['a:1', 'resync', 'a:2'],
  )
  const [first = '', second = ''] = engine.requests.map((request) => request.slice('GET '.length))
  const query = new URL(first, 'http://engine').searchParams
  assert.equal(query.get('since'), '5.000')
  assert.deepEqual(JSON.parse(query.get('filters') ?? ''), {
    type: ['image'],
    event: ['pull', 'tag', 'load', 'import', 'create', 'untag', 'delete'],
  })
  assert.equal(new URL(second, 'http://engine').searchParams.get('since'), '1700000000.000000001')
})
