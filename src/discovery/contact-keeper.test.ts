import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'

import { silentLog } from '../telemetry/log.ts'
import { ContactKeeper } from './contact-keeper.ts'
import { formatPeerAddress, type PeerAddress } from './discovery.ts'

const contact = { host: '10.0.0.1', port: 1 }
const saved = { host: '10.0.0.2', port: 2 }

type Options = Partial<ConstructorParameters<typeof ContactKeeper>[0]>

/** A keeper on a clock that the test moves, with a table that holds what the test says. */
function openKeeper(t: TestContext, options: Options = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
  const table: PeerAddress[] = []
  const pings: string[] = []
  const keeper = new ContactKeeper({
    table: {
      isEmpty: () => table.length === 0,
      has: (address) =>
        table.some((node) => formatPeerAddress(node) === formatPeerAddress(address)),
      ping: (address) => pings.push(`${Date.now()} ${formatPeerAddress(address)}`),
    },
    contacts: [contact],
    savedNodes: [],
    pingTimeoutMs: 500,
    log: silentLog,
    resolve: async (host) => [host],
    random: () => 0.5,
    ...options,
  })
  t.after(() => keeper.close())
  const pass = async (ms: number) => {
    for (let passedMs = 0; passedMs < ms; passedMs += 50) {
      t.mock.timers.tick(50)
      await settle()
    }
  }
  return { keeper, table, pings, pass }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
}

test('asks its contact ever more seldom while nobody is there', async (t) => {
  const { keeper, pings, pass } = openKeeper(t)
  keeper.start()
  await settle()
  await pass(60_000)
  const atMs = pings.map((ping) => Number(ping.split(' ')[0]))
  assert.deepEqual(atMs.slice(0, 8), [0, 250, 750, 1750, 3750, 7750, 15_750, 25_750])
})

test('asks saved nodes only while the table is empty, and a missing contact once a minute', async (t) => {
  const { keeper, table, pings, pass } = openKeeper(t, { savedNodes: [saved] })
  keeper.start()
  await settle()
  assert.deepEqual(pings.toSorted(), ['0 10.0.0.1:1', '0 10.0.0.2:2'])
  pings.length = 0
  table.push({ host: '10.0.0.3', port: 3 })
  keeper.onFilled()
  await pass(130_000)
  assert.deepEqual(pings, ['60000 10.0.0.1:1', '120000 10.0.0.1:1'])
  pings.length = 0
  table.push(contact)
  await pass(130_000)
  assert.deepEqual(pings, [])
})

test('begins anew when the table has become empty', async (t) => {
  const { keeper, table, pings, pass } = openKeeper(t)
  keeper.start()
  table.push(contact)
  keeper.onFilled()
  await pass(1_000)
  pings.length = 0
  table.length = 0
  keeper.onEmptied()
  await pass(1_000)
  assert.deepEqual(pings, ['1250 10.0.0.1:1', '1500 10.0.0.1:1', '2000 10.0.0.1:1'])
})

test('without contacts, asks the nodes that it lost', async (t) => {
  const { keeper, table, pings, pass } = openKeeper(t, { contacts: [] })
  keeper.start()
  table.push(saved)
  keeper.onFilled()
  await pass(100)
  table.length = 0
  keeper.remember(saved)
  keeper.onEmptied()
  await pass(300)
  assert.deepEqual(pings, ['350 10.0.0.2:2'])
})

test('asks every address of a name, asks again for a name that has none, and not itself', async (t) => {
  const answers = [[], ['10.0.0.1', '10.0.0.9']]
  const { keeper, pings, pass } = openKeeper(t, {
    contacts: [{ host: 'tasks', port: 7 }],
    resolve: async () => {
      const answer = answers.shift()
      if (!answer?.length) throw new Error('ENOTFOUND')
      return answer
    },
  })
  keeper.ignore({ host: '10.0.0.9', port: 7 })
  keeper.start()
  await pass(300)
  assert.deepEqual(pings, ['250 10.0.0.1:7'])
})

test('the first round ends with the first node, or when nobody has answered', async (t) => {
  const { keeper, pass } = openKeeper(t)
  let isOver = false
  void keeper.firstRound.then(() => (isOver = true))
  keeper.start()
  await pass(450)
  assert.equal(isOver, false)
  await pass(50)
  assert.equal(isOver, true)
})

test('without contacts there is nothing to wait for, and no timer', async (t) => {
  const { keeper } = openKeeper(t, { contacts: [] })
  const timers = t.mock.method(globalThis, 'setTimeout')
  keeper.start()
  keeper.onEmptied()
  await keeper.firstRound
  assert.equal(timers.mock.callCount(), 0)
})
