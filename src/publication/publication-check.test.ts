import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { parseReference } from '../oci/reference.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { PublicationCheck } from './publication-check.ts'

type Has = Upstream['has']

const ROOT = digestOf('root')
const LAYERS = Array.from({ length: 9 }, (_, index) => digestOf(`layer ${index}`))
const PARTS = {
  images: [{ digest: ROOT, mediaType: MEDIA_TYPES.ociManifest, size: 1, blobs: [], addedAtMs: 0 }],
  blobs: LAYERS.map((digest) => ({ digest, size: 1, role: 'layer' as const })),
}
const anybody: Has = async () => 'public'

async function check(
  name: string,
  { has, privateDigests = [] }: { has?: Has; privateDigests?: Digest[] },
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  const access = { isPrivate: async (digest: Digest) => privateDigests.includes(digest) }
  const rules = new PublicationCheck({ access, upstream: has && { has } })
  await rules.assertFree(parseReference(name), PARTS, { signal })
}

test('what its registry gives to everybody may be published, after one question for each part', async () => {
  const asked: Parameters<Has>[] = []
  let [now, most] = [0, 0]
  const has: Has = async (...question) => {
    asked.push(question)
    most = Math.max(most, ++now)
    await setImmediate()
    now -= 1
    return 'public'
  }
  await check('ghcr.io/acme/app:1', { has })
  assert.equal(asked.length, 1 + LAYERS.length)
  assert.ok(asked.every(([, , { identity }]) => identity.kind === 'anonymous'))
  assert.deepEqual(
    asked.filter(([, { kind }]) => kind === 'manifest').map(([, { digest }]) => digest),
    [ROOT],
  )
  assert.equal(most, 4)
})

const [lastLayer = ROOT] = LAYERS.slice(-1)
const fails =
  (code: 'UPSTREAM_DENIED' | 'UPSTREAM_UNREACHABLE' | 'UPSTREAM_FAULTY'): Has =>
  async (_, { digest }) => {
    if (digest === lastLayer) throw new OperationError(code, 'no')
    return 'public'
  }

for (const { what, name = 'ghcr.io/acme/app:1', code, ...options } of [
  { what: 'needed a login', privateDigests: [lastLayer], has: anybody, code: 'REFUSED' },
  { what: 'is local', name: 'local/app:1', has: anybody, code: 'REFUSED' },
  { what: 'is of one node', name: 'node/alpha/app:1', has: anybody, code: 'REFUSED' },
  { what: 'its registry keeps a layer of', has: fails('UPSTREAM_DENIED'), code: 'REFUSED' },
  { what: 'its registry does not know', has: async () => undefined, code: 'REFUSED' },
  { what: 'is given for a login', has: async () => 'private', code: 'REFUSED' },
  { what: 'nobody can be asked about', code: 'UNPROVEN' },
  { what: 'a registry out of reach has', has: fails('UPSTREAM_UNREACHABLE'), code: 'UNPROVEN' },
  { what: 'a registry lies about', has: fails('UPSTREAM_FAULTY'), code: 'UNPROVEN' },
] as { what: string; name?: string; has?: Has; privateDigests?: Digest[]; code: string }[]) {
  test(`what ${what} is not published without a word of its owner`, async () => {
    await assert.rejects(check(name, options), { code: `PUBLICATION_${code}` })
  })
}

test('who goes away while a registry is asked gets the reason back', async () => {
  const gone = new AbortController()
  const reason = new OperationError('INTERRUPTED', 'gone')
  const has: Has = async (_, __, { signal }) => {
    gone.abort(reason)
    signal.throwIfAborted()
    return 'public'
  }
  await assert.rejects(check('ghcr.io/acme/app:1', { has }, gone.signal), { code: 'INTERRUPTED' })
})
