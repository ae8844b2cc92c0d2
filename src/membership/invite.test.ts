import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import { formatInvite, formatTicket, parseInvite, type JoinTicket } from './invite.ts'
import type { SwarmKey } from './swarm-key.ts'

const key = randomBytes(32) as SwarmKey
const ticket: JoinTicket = {
  id: '0123456789abcdef',
  secret: randomBytes(16),
  expiresAtMs: 1_900_000_000_000,
  addresses: ['10.0.0.7:6881', '[fd00::7]:6881', 'node-1.example.org:1'],
}

test('an invite carries the key, or a ticket, and is read as it was made', () => {
  assert.deepEqual(parseInvite(` ${formatInvite(key)}\n`), { kind: 'key', key })
  assert.deepEqual(parseInvite(formatTicket(ticket)), { kind: 'ticket', ticket })
  assert.ok(!formatTicket(ticket).includes(key.toString('base64url')))
})

test('one wrong, missing or additional character is noticed', () => {
  for (const line of [formatInvite(key), formatTicket(ticket)]) {
    for (let at = 0; at < line.length; at += 1) {
      const other = line[at] === 'A' ? 'B' : 'A'
      const wrong = line.slice(0, at) + other + line.slice(at + 1)
      assert.throws(() => parseInvite(wrong), { code: 'INVITE_INVALID' }, wrong)
    }
    for (const wrong of [line.slice(0, -1), `${line}A`, `x${line}`, line.slice(0, 8)])
      assert.throws(() => parseInvite(wrong), { code: 'INVITE_INVALID' })
  }
  for (const wrong of ['', 'dd1-', 'dd1t-', 'A'.repeat(100_000)])
    assert.throws(() => parseInvite(wrong), { code: 'INVITE_INVALID' })
})

test('a ticket leads to addresses and to nothing else', () => {
  for (const address of ['', 'host', 'host:0', 'host:70000', 'a b:1', '/etc/passwd:1', 'x:1/y'])
    assert.throws(() => parseInvite(formatTicket({ ...ticket, addresses: [address] })), {
      code: 'INVITE_INVALID',
    })
  const many = Array.from({ length: 9 }, () => '10.0.0.7:1')
  assert.throws(() => parseInvite(formatTicket({ ...ticket, addresses: many })))
})
