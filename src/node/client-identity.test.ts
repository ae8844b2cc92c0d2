import assert from 'node:assert/strict'
import { Socket } from 'node:net'
import { test } from 'node:test'

import { ClientIdentities } from './client-identity.ts'

const own = process.getuid?.()
const stranger = (own ?? 0) + 1

for (const { who, user, mayLogIn, kind } of [
  { who: 'the user of the node', user: own, mayLogIn: true, kind: 'node' },
  { who: 'root', user: 0, mayLogIn: true, kind: 'node' },
  { who: 'another user of this host', user: stranger, mayLogIn: true, kind: 'anonymous' },
  { who: 'somebody of whom nothing is known', user: undefined, mayLogIn: true, kind: 'anonymous' },
  { who: 'anybody, where the node has no login,', user: own, mayLogIn: false, kind: 'anonymous' },
]) {
  test(`${who} asks as ${kind}`, async () => {
    let looks = 0
    const identities = new ClientIdentities({
      users: { userOf: async () => (looks++, user) },
      mayLogIn: async () => mayLogIn,
      passCredentials: [],
    })
    const client = { socket: new Socket() }
    assert.deepEqual(await identities.of(client, 'registry.test'), { kind })
    assert.equal(looks, mayLogIn ? 1 : 0)
  })
}

test('what a client brought itself counts where the registry is listed for that', async () => {
  const identities = new ClientIdentities({
    users: { userOf: async () => stranger },
    mayLogIn: async () => true,
    passCredentials: ['registry.test'],
  })
  const client = { socket: new Socket(), authorization: 'Basic eA==' }
  assert.deepEqual(await identities.of(client, 'registry.test'), {
    kind: 'client',
    authorization: 'Basic eA==',
  })
  const other = await identities.of(client, 'other.test')
  assert.notEqual(other.kind, 'client')
})
