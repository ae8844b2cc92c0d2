import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import type { JoinTicket } from '../membership/invite.ts'
import { makeNodeIdentity } from '../membership/node-identity.ts'
import { RequestVerifier } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { TicketBook } from '../membership/ticket-book.ts'
import { joinSwarm } from './join-swarm.ts'
import { dialThrough } from './peer-client.ts'
import { PEER_ROUTES } from './peer-messages.ts'
import { PeerServer, type PeerHandlers } from './peer-server.ts'
import { guestSecrets, memberSecrets } from './channel-secret.ts'
import { SecureChannel } from './secure-channel.ts'

const swarmKey = randomBytes(32) as SwarmKey
const identity = makeNodeIdentity()
const { signal } = new AbortController()

test('who has a ticket is given the key, and one for a single node is used up by it', async (t) => {
  const { issue } = await openMember(t)
  const forSome = await issue({ isOnce: false })
  for (let guest = 0; guest < 3; guest += 1)
    assert.deepEqual(
      (await joinSwarm({ ticket: forSome, identity }, { signal })).swarmKey,
      swarmKey,
    )
  const forOne = await issue({ isOnce: true })
  assert.deepEqual((await joinSwarm({ ticket: forOne, identity }, { signal })).swarmKey, swarmKey)
  await assert.rejects(joinSwarm({ ticket: forOne, identity }, { signal }), {
    code: 'INVITE_INVALID',
  })
})

test('a ticket that has expired, is of another node, or was guessed opens nothing', async (t) => {
  const { issue } = await openMember(t)
  const ticket = await issue({ isOnce: true })
  const late = await issue({ isOnce: true, expiresAtMs: Date.now() - 1 })
  const [elsewhere, lie] = [await openMember(t), { expiresAtMs: Date.now() + 60_000 }]
  for (const wrong of [
    late,
    { ...late, ...lie },
    { ...(await elsewhere.issue({ isOnce: true })), addresses: ticket.addresses },
    { ...ticket, secret: randomBytes(16) },
    { ...ticket, id: '0000000000000000' },
  ])
    await assert.rejects(joinSwarm({ ticket: wrong, identity }, { signal }), {
      code: 'INVITE_INVALID',
    })
  // none of it used the real one up
  assert.deepEqual((await joinSwarm({ ticket, identity }, { signal })).swarmKey, swarmKey)
})

test('the member is looked for at all addresses of a ticket, and said to be away where it is at none', async (t) => {
  const { issue } = await openMember(t)
  const ticket = await issue({ isOnce: true })
  const nobody = '127.0.0.1:9'
  await assert.rejects(
    joinSwarm({ ticket: { ...ticket, addresses: [nobody] }, identity }, { signal }),
    {
      code: 'NODE_UNREACHABLE',
    },
  )
  const both = { ...ticket, addresses: [nobody, ...ticket.addresses] }
  const joined = await joinSwarm({ ticket: both, identity }, { signal })
  assert.deepEqual(
    [joined.swarmKey, `${joined.host}:${joined.port}`],
    [swarmKey, ...ticket.addresses],
  )
})

test('an address where somebody is silent does not keep a guest from the others', async (t) => {
  const { issue } = await openMember(t)
  const ticket = await issue({ isOnce: true })
  const silent = createServer((socket) => void socket.on('error', () => {}).resume())
  await once(silent.listen(0, '127.0.0.1'), 'listening')
  t.after(() => silent.close())
  const { port } = silent.address() as AddressInfo
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const both = { ...ticket, addresses: [`127.0.0.1:${port}`, ...ticket.addresses] }
  const joined = joinSwarm({ ticket: both, identity }, { signal })
  await once(silent, 'connection')
  t.mock.timers.tick(5000)
  assert.deepEqual((await joined).swarmKey, swarmKey)
})

test('a guest can ask for nothing but the key, not even for BitTorrent', async (t) => {
  const { issue, calls } = await openMember(t)
  const ticket = await issue({ isOnce: false })
  const guest = guestChannel(ticket)
  const agent = new Agent()
  agent.createConnection = dialThrough(guest)
  const { host, port } = addressOf(ticket)
  for (const path of Object.values(PEER_ROUTES)) {
    const asked = request({ host, port, path, method: 'POST', agent }).end('{}')
    const [response] = (await once(asked, 'response')) as [{ statusCode: number; resume(): void }]
    response.resume()
    assert.equal(response.statusCode, path === PEER_ROUTES.join ? 200 : 404, path)
  }
  const socket = guest.dial({ host, port }, () => socket.write('\u0013BitTorrent protocol'))
  socket.on('error', () => {}).resume()
  await once(socket, 'close', { signal: AbortSignal.timeout(5000) })
  assert.deepEqual(calls, ['join'])
})

test('a member has no use for a ticket: it is not told the key', async (t) => {
  const { issue, calls } = await openMember(t)
  const { host, port } = addressOf(await issue({ isOnce: false }))
  const agent = new Agent()
  agent.createConnection = dialThrough(
    new SecureChannel({ secrets: memberSecrets(new SwarmKeys(swarmKey)), identity }),
  )
  const asked = request({ host, port, path: PEER_ROUTES.join, method: 'POST', agent }).end('{}')
  const [response] = (await once(asked, 'response')) as [{ statusCode: number; resume(): void }]
  response.resume()
  assert.equal(response.statusCode, 403)
  assert.deepEqual(calls, [])
  agent.destroy()
})

/** A member whose handlers note what they are asked. */
async function openMember(t: TestContext) {
  const dataDir = await mkdtemp(join(tmpdir(), 'ddocker-join-'))
  t.after(() => rm(dataDir, { recursive: true }))
  await mkdir(join(dataDir, 'keys'))
  const tickets = await TicketBook.open(dataDir)
  const calls: string[] = []
  const handlers = new Proxy({} as PeerHandlers, {
    get: (_, name: string) => async (ticketId: string) => {
      calls.push(name)
      return name === 'join' && (await tickets.redeem(ticketId)) ? swarmKey : undefined
    },
  })
  const server = await PeerServer.open({
    host: '127.0.0.1',
    port: 0,
    verifier: new RequestVerifier(new SwarmKeys(swarmKey)),
    handlers,
    channel: new SecureChannel({
      secrets: memberSecrets(new SwarmKeys(swarmKey)),
      identity: makeNodeIdentity(),
      ticketKey: (id) => tickets.secretOf(id),
    }),
  })
  t.after(() => server[Symbol.asyncDispose]())
  const issue = ({
    isOnce,
    expiresAtMs = Date.now() + 60_000,
  }: {
    isOnce: boolean
    expiresAtMs?: number
  }) => tickets.issue({ isOnce, expiresAtMs, addresses: [`127.0.0.1:${server.port}`] })
  return { issue, calls }
}

function guestChannel(ticket: JoinTicket): SecureChannel {
  return new SecureChannel({ secrets: guestSecrets(ticket), identity })
}

function addressOf({ addresses }: JoinTicket): { host: string; port: number } {
  return { host: '127.0.0.1', port: Number(addresses[0]?.split(':')[1]) }
}
