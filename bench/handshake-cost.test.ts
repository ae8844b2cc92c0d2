import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import { measureHandshakes } from './handshake-cost.ts'

test('both ends of a connection are measured, and proofs take longer than none', async () => {
  const swarmKey = randomBytes(32)
  const plain = await measureHandshakes({ swarmKey, isEncrypted: false }, 20)
  const encrypted = await measureHandshakes({ swarmKey, isEncrypted: true }, 20)
  for (const end of ['dialing', 'accepting'] as const) {
    // not processor time, which some systems count in ticks
    assert.ok(plain[end].loopMs > 0)
    assert.ok(encrypted[end].loopMs > plain[end].loopMs, JSON.stringify({ plain, encrypted }))
  }
})
