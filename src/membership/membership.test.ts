import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import * as fc from 'fast-check'

import { isOperationError } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { decodeBlobRecord, encodeBlobRecord } from './blob-record.ts'
import { makeNodeIdentity, openNodeIdentity } from './node-identity.ts'
import { nextSequence, parseReferenceRecord, signReferenceRecord } from './reference-record.ts'
import { RendezvousKeys } from './rendezvous-key.ts'
import { proveRequest, RequestVerifier } from './request-proof.ts'
import { openSwarmKey, readSwarmKey, swarmIdOf, type SwarmKey } from './swarm-key.ts'
import { SwarmKeys } from './swarm-keys.ts'

const key = randomBytes(32) as SwarmKey
const otherKey = randomBytes(32) as SwarmKey

test('a swarm key and an identity are made once, for their owner only, and kept', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'ddocker-membership-'))
  t.after(() => rm(dataDir, { recursive: true }))
  await mkdir(join(dataDir, 'keys'))
  const made = await openSwarmKey(dataDir)
  assert.deepEqual(await openSwarmKey(dataDir), made)
  assert.equal((await stat(join(dataDir, 'keys/swarm.key'))).mode & 0o777, 0o600)
  assert.equal(
    (await readFile(join(dataDir, 'keys/swarm.key'), 'utf8')).trim(),
    made.toString('hex'),
  )
  const identity = await openNodeIdentity(dataDir)
  assert.equal((await openNodeIdentity(dataDir)).nodeId, identity.nodeId)
  assert.equal((await stat(join(dataDir, 'keys/node.pem'))).mode & 0o777, 0o600)
})

test('a key file with anything but 64 hex digits is refused', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'ddocker-membership-'))
  t.after(() => rm(dir, { recursive: true }))
  for (const text of ['', 'zz', 'a'.repeat(63)]) {
    await writeFile(join(dir, 'key'), text)
    await assert.rejects(readSwarmKey(join(dir, 'key')), { code: 'SWARM_KEY_INVALID' })
  }
  await assert.rejects(readSwarmKey(join(dir, 'none')), { code: 'SWARM_KEY_INVALID' })
})

test('rendezvous keys differ by swarm, kind and subject, and tell nothing of them', () => {
  const keys = new RendezvousKeys(new SwarmKeys(key))
  const image = digestOf('a')
  const all = [
    keys.nodes,
    keys.image(image),
    keys.image(digestOf('b')),
    keys.reference('docker.io/library/a:1'),
    new RendezvousKeys(new SwarmKeys(otherKey)).image(image),
  ]
  assert.equal(new Set(all).size, all.length)
  for (const each of all) assert.match(each, /^[0-9a-f]{40}$/)
  assert.notEqual(swarmIdOf(key), swarmIdOf(otherKey))
})

test('a blob record is taken as it was made, and refused when a bit of it or the swarm differs', () => {
  const record = {
    digest: digestOf('x'),
    size: 2 ** 40,
    pieceLength: 262_144,
    infoHash: 'ab'.repeat(20),
  }
  const bytes = encodeBlobRecord(record, key)
  assert.deepEqual(decodeBlobRecord(bytes, [key]), record)
  assert.throws(() => decodeBlobRecord(bytes, [otherKey]), { code: 'RECORD_INVALID' })
  for (let at = 0; at < bytes.length; at += 1) {
    const wrong = Buffer.from(bytes)
    wrong[at] = (wrong[at] ?? 0) ^ 1
    assert.throws(() => assert.deepEqual(decodeBlobRecord(wrong, [key]), record))
  }
})

test('a blob record with a length beyond what its MAC covers is refused with a code', () => {
  const record = { digest: digestOf('x'), size: 1, pieceLength: 262_144, infoHash: 'ab'.repeat(20) }
  const text = encodeBlobRecord(record, key).toString('latin1')
  for (const length of ['4294967296', '9007199254740991', '-1', '0']) {
    const bytes = Buffer.from(text.replace('i262144e', `i${length}e`), 'latin1')
    assert.throws(() => decodeBlobRecord(bytes, [key]), { code: 'RECORD_INVALID' })
  }
})

test('garbage instead of a blob record is refused with a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.throws(
        () => decodeBlobRecord(bytes, [key]),
        (error) => isOperationError(error, 'RECORD_INVALID'),
      )
    }),
  )
})

test('a reference record proves its node and its swarm', () => {
  const identity = makeNodeIdentity()
  const signed = signReferenceRecord(fields(), { identity, swarmKey: key })
  assert.deepEqual(
    parseReferenceRecord(JSON.parse(JSON.stringify(signed)), { swarmKeys: [key] }),
    signed,
  )
  const wrong: object[] = [
    { ...signed, digest: digestOf('other') },
    { ...signed, sequence: signed.sequence + 1 },
    { ...signed, nodeName: 'other' },
    { ...signed, nodeId: makeNodeIdentity().nodeId },
    { ...signed, name: 'app:1' },
    { ...signed, signature: '0'.repeat(128) },
    { ...signed, mac: '0'.repeat(64) },
    signReferenceRecord(fields(), { identity, swarmKey: otherKey }),
  ]
  for (const record of wrong) {
    assert.throws(() => parseReferenceRecord(record, { swarmKeys: [key] }), {
      code: 'RECORD_INVALID',
    })
  }
})

test('a reference record from next week is refused, sequences never go back', () => {
  const record = signReferenceRecord(
    { ...fields(), sequence: Date.now() + 7 * 86_400e3 },
    { identity: makeNodeIdentity(), swarmKey: key },
  )
  assert.throws(() => parseReferenceRecord(record, { swarmKeys: [key] }), {
    code: 'RECORD_INVALID',
  })
  assert.equal(nextSequence(undefined, 1000), 1000)
  assert.equal(nextSequence(5000, 1000), 5001)
})

test('a reference record of a node whose name cannot be shown or kept is refused', () => {
  for (const nodeName of ['\x1b[2J', 'a\nb', '\ud800', 'x'.repeat(254)]) {
    const identity = makeNodeIdentity()
    const record = signReferenceRecord({ ...fields(), nodeName }, { identity, swarmKey: key })
    assert.throws(() => parseReferenceRecord(record, { swarmKeys: [key] }), {
      code: 'RECORD_INVALID',
    })
  }
})

test('a request proof is good once, for this request, in this swarm, within a minute', () => {
  const request = { method: 'POST', path: '/dd/1/warm', body: Buffer.from('{}') }
  const verifier = new RequestVerifier(new SwarmKeys(key))
  const proof = proveRequest(request, key)
  verifier.verify(request, proof)
  const refused: [typeof request, string | undefined][] = [
    [request, proof],
    [request, undefined],
    [request, 'Basic eDp5'],
    [request, proof.replace('DD1 ', 'DD1 0')],
    [request, proveRequest(request, otherKey)],
    [request, proveRequest(request, key, Date.now() - 120_000)],
    [request, proveRequest(request, key, Date.now() + 120_000)],
    [{ ...request, body: Buffer.from('{"a":1}') }, proveRequest(request, key)],
    [{ ...request, path: '/dd/1/have' }, proveRequest(request, key)],
  ]
  for (const [asked, shown] of refused) {
    assert.throws(() => verifier.verify(asked, shown), { code: 'REQUEST_UNPROVEN' })
  }
})

function fields() {
  return {
    name: 'docker.io/library/app:1',
    digest: digestOf('manifest'),
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    size: 8,
    sequence: Date.now(),
    nodeName: 'alpha',
  }
}
