import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { silentLog } from '../telemetry/log.ts'
import { BlobRace, type RaceParts } from './blob-race.ts'
import { BlobTransfer } from './blob-transfer.ts'
import type { UpstreamRoute } from './upstream-route.ts'

const MIB = 1024 * 1024
const ROUTE: UpstreamRoute = {
  repository: { registry: 'registry.example', repository: 'a' },
  identity: { kind: 'node' },
  kind: 'blob',
}
const unknown = () => Promise.reject(new OperationError('BLOB_UNKNOWN', 'nobody has it'))

test('upstream is asked at once where nobody is in the swarm', async () => {
  const race = raceOf({ hasPeers: false, swarm: untilAborted })
  await race.start()
  assert.ok(race.upstreamAskedMs() < 100, `${race.upstreamAskedMs()} ms`)
})

test('upstream is asked as soon as the swarm says that it has none', async () => {
  const race = raceOf({ swarm: unknown })
  await race.start()
  assert.ok(race.upstreamAskedMs() < 150, `${race.upstreamAskedMs()} ms`)
})

test('upstream is asked as soon as all known members lack it, while others are looked for', async () => {
  const race = raceOf({
    swarm: ({ onAbsent, signal }) => {
      onAbsent()
      return untilAborted({ signal })
    },
  })
  await race.start()
  assert.ok(race.upstreamAskedMs() < 100, `${race.upstreamAskedMs()} ms`)
})

test('members that do not answer cost a quarter of a second', async () => {
  const race = raceOf({ swarm: untilAborted })
  await race.start()
  assert.ok(race.upstreamAskedMs() >= 240, `${race.upstreamAskedMs()} ms`)
  assert.ok(race.upstreamAskedMs() < 900, `${race.upstreamAskedMs()} ms`)
})

test('upstream is not asked for what peers deliver', async () => {
  const race = raceOf({
    async swarm({ onFound }) {
      onFound()
      await deliver(race.transfer, { pieces: 6, everyMs: 80 })
    },
  })
  await race.start()
  assert.equal(race.upstreamAskedMs(), Number.POSITIVE_INFINITY)
})

test('upstream joins in when peers that have it bring nothing', async () => {
  const race = raceOf({
    swarm: ({ onFound, signal }) => {
      onFound()
      return untilAborted({ signal })
    },
  })
  await race.start()
  assert.ok(race.upstreamAskedMs() >= 950, `${race.upstreamAskedMs()} ms`)
})

test('upstream stops when peers deliver after all', async () => {
  let wasStopped = false
  const race = raceOf({
    async swarm({ onFound }) {
      await pauseMs(400)
      onFound()
      await deliver(race.transfer, { pieces: 4, everyMs: 100 })
    },
    async upstream(_route, { signal }) {
      await once(signal, 'abort').catch(() => undefined)
      wasStopped = !race.isOver()
      throw signal.reason
    },
  })
  await race.start()
  assert.equal(wasStopped, true)
})

test('when both fail, the one that tells more is the failure', async () => {
  const denied = () => Promise.reject(new OperationError('UPSTREAM_DENIED', 'no'))
  await assert.rejects(raceOf({ swarm: unknown, upstream: denied }).start(), {
    code: 'UPSTREAM_DENIED',
  })
  const stalled = () => Promise.reject(new OperationError('TRANSFER_STALLED', 'nothing comes'))
  await assert.rejects(raceOf({ swarm: stalled, upstream: unknown }).start(), {
    code: 'TRANSFER_STALLED',
  })
  await assert.rejects(raceOf({ swarm: unknown, upstream: unknown }).start(), {
    code: 'BLOB_UNKNOWN',
  })
})

test('where one registry denies it, another that a client named is asked', async () => {
  const asked: string[] = []
  const race = raceOf({
    hasPeers: false,
    swarm: untilAborted,
    async upstream({ repository: { registry } }) {
      asked.push(registry)
      if (registry === ROUTE.repository.registry) throw new OperationError('UPSTREAM_DENIED', 'no')
    },
  })
  const running = race.start()
  const repository = { registry: 'other.example', repository: 'a' }
  race.transfer.onRoute({ ...ROUTE, repository })
  await running
  assert.deepEqual(asked, ['registry.example', 'other.example'])
})

test('a dead upstream costs nothing while peers deliver', async () => {
  const denied = () => Promise.reject(new OperationError('UPSTREAM_UNREACHABLE', 'refused'))
  const race = raceOf({
    hasPeers: false,
    upstream: denied,
    async swarm({ onFound }) {
      onFound()
      await deliver(race.transfer, { pieces: 3, everyMs: 50 })
    },
  })
  await race.start()
})

interface RaceOptions extends Partial<Pick<RaceParts, 'hasPeers' | 'upstream'>> {
  readonly swarm: RaceParts['swarm']
}

/** A race for a blob of 16 MiB that upstream brings at once unless the test says otherwise. */
function raceOf({ hasPeers = true, swarm, upstream = () => Promise.resolve() }: RaceOptions) {
  const transfer = new BlobTransfer({ digest: digestOf(Buffer.of(1)), size: 16 * MIB, images: [] })
  transfer.onRoute(ROUTE)
  const startedMs = performance.now()
  let askedMs = Number.POSITIVE_INFINITY
  let isOver = false
  const race = new BlobRace({
    transfer,
    siblings: [],
    signal: AbortSignal.timeout(10_000),
    log: silentLog,
    hasPeers,
    swarm,
    upstream: (route, options) => {
      askedMs = performance.now() - startedMs
      return upstream(route, options)
    },
  })
  return {
    transfer,
    upstreamAskedMs: () => askedMs,
    isOver: () => isOver,
    async start() {
      try {
        await race.run(new Promise(() => {}))
      } finally {
        isOver = true
      }
    },
  }
}

async function deliver(
  transfer: BlobTransfer,
  { pieces, everyMs }: { pieces: number; everyMs: number },
): Promise<void> {
  for (let piece = 0; piece < pieces; piece += 1) {
    await pauseMs(everyMs)
    transfer.onBytes('peers', MIB)
  }
}

async function untilAborted({ signal }: { signal: AbortSignal }): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort')
  throw signal.reason
}

function pauseMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
