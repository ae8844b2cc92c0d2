import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'

import { ConnectionLimits } from './connection-limits.ts'

const PER_MEMBER = 32

test('a member has so many connections and no more, from wherever it comes, until some end', () => {
  const limits = new ConnectionLimits()
  const connect = (member: string | undefined, index: number) => {
    const socket = fakeSocket(`10.0.0.${index}`)
    assert.ok(limits.admit(socket))
    return { socket, isIn: limits.onProven(socket, member) }
  }
  const of = (member: string | undefined, count: number) =>
    Array.from({ length: count }, (_, index) => connect(member, index))
  const first = of('a', PER_MEMBER + 2)
  assert.equal(first.filter(({ isIn }) => isIn).length, PER_MEMBER)
  assert.ok(of('b', PER_MEMBER).every(({ isIn }) => isIn))
  // Where nobody has to prove anything, hosts count.
  assert.ok(of(undefined, 2 * PER_MEMBER).every(({ isIn }) => isIn))

  for (const { socket } of first.slice(0, 3)) socket.emit('close')
  assert.equal(of('a', 5).filter(({ isIn }) => isIn).length, 3)
})

test('a connection that has ended meanwhile has no place', () => {
  const limits = new ConnectionLimits()
  const socket = fakeSocket('10.0.0.1')
  assert.ok(limits.admit(socket))
  socket.emit('close')
  assert.equal(limits.onProven(socket, 'a'), false)
})

function fakeSocket(remoteAddress: string): Socket {
  return Object.assign(new EventEmitter(), {
    remoteAddress,
    destroy: () => {},
  }) as unknown as Socket
}
