import assert from 'node:assert/strict'
import { test } from 'node:test'

import { nearestName, suggestion } from './nearest-name.ts'

test('a slip of the finger finds its name, a stranger finds none', () => {
  const names = ['peerPort', 'peerHost', 'upstream', 'swarm']
  const cases: [string, string | undefined][] = [
    ['peerPrt', 'peerPort'],
    ['PEERPORT', 'peerPort'],
    ['peer-host', 'peerHost'],
    ['swram', 'swarm'],
    ['upstreams', 'upstream'],
    ['x', undefined],
    ['', undefined],
    ['registry', undefined],
    ['sw', undefined],
    ['warmth', undefined],
  ]
  for (const [written, wanted] of cases) assert.equal(nearestName(written, names), wanted, written)
})

test('a suggestion is a question, or nothing', () => {
  assert.equal(suggestion('swram', ['swarm']), ' (did you mean "swarm"?)')
  assert.equal(suggestion('registry', ['swarm']), '')
})
