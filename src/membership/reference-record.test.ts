import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { makeNodeIdentity } from './node-identity.ts'
import {
  isConfirmationDue,
  nextSequence,
  parseReferenceRecord,
  REFERENCE_LIFETIME_MS,
  signReferenceRecord,
  supersedes,
} from './reference-record.ts'
import type { SwarmKey } from './swarm-key.ts'

const swarmKey = randomBytes(32) as SwarmKey
const identity = makeNodeIdentity()
const nowMs = Date.UTC(2030, 1, 1)
const MINUTE_MS = 60e3

test('a record is taken as it was made', () => {
  const record = recordOf({})
  assert.deepEqual(parse(JSON.parse(JSON.stringify(record))), record)
  assert.equal(record.expiresAtMs, nowMs + REFERENCE_LIFETIME_MS)
})

test('a record with proofs in order is refused where it says what none may say', () => {
  const wrong: Record<string, Parameters<typeof recordOf>[0]> = {
    'a name without end': { name: `docker.io/${'a/'.repeat(300)}a:1` },
    'a name that is not canonical': { name: 'app:1' },
    'a size that no manifest has': { size: 4 * 1024 * 1024 + 1 },
    'a media type of no manifest': { mediaType: 'text/html' },
    'a node name that moves the cursor': { nodeName: 'alpha\u001b[2K' },
    'a node name without end': { nodeName: 'a'.repeat(254) },
    'a sequence ahead of all clocks': { sequence: nowMs + 6 * MINUTE_MS },
    'a sequence below none': { sequence: -1 },
  }
  for (const [what, fields] of Object.entries(wrong)) {
    assert.throws(() => parse(recordOf(fields)), { code: 'RECORD_INVALID' }, what)
  }
  const forEver = recordOf({}, nowMs + 6 * MINUTE_MS)
  assert.throws(() => parse(forEver), /longer than a record may be/)
  parse(recordOf({ sequence: nowMs + 4 * MINUTE_MS }, nowMs + 4 * MINUTE_MS))
})

test('a record is confirmed in the second half of its life, and takes the place of what it confirms', () => {
  const record = recordOf({})
  assert.equal(isConfirmationDue(record, nowMs + 11 * 60 * MINUTE_MS), false)
  const laterMs = nowMs + 13 * 60 * MINUTE_MS
  assert.equal(isConfirmationDue(record, laterMs), true)
  const confirmed = recordOf({}, laterMs)
  assert.equal(supersedes(confirmed, record), true)
  assert.equal(supersedes(record, confirmed), false)
  assert.equal(supersedes(record, record), false)
  const other = recordOf({ digest: digestOf('other') }, laterMs)
  assert.equal(supersedes(other, record), false)
})

test('a sequence that a wrong clock made does not lock its signer out', () => {
  assert.equal(nextSequence(nowMs + MINUTE_MS, nowMs), nowMs + MINUTE_MS + 1)
  assert.equal(nextSequence(nowMs + 365 * 24 * 60 * MINUTE_MS, nowMs), nowMs)
})

function parse(value: unknown) {
  return parseReferenceRecord(value, { swarmKeys: [swarmKey], nowMs })
}

function recordOf(
  fields: Partial<Parameters<typeof signReferenceRecord>[0]>,
  signedAtMs: number = nowMs,
) {
  const record = {
    name: 'docker.io/library/app:1',
    digest: digestOf('manifest'),
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    size: 8,
    sequence: nowMs,
    nodeName: 'alpha',
  }
  return signReferenceRecord({ ...record, ...fields }, { identity, swarmKey, nowMs: signedAtMs })
}
