import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as fc from 'fast-check'

import { isOperationError } from '../errors.ts'
import { digestOf } from './digest.ts'
import { childrenOf, makeDeterministicManifest, parseManifest, selectPlatform } from './manifest.ts'
import { MEDIA_TYPES } from './media-types.ts'

const config = { digest: digestOf('config'), size: 6 }
const layer = { digest: digestOf('layer'), size: 5 }

test('every holder of an image makes the same manifest bytes', () => {
  const bytes = makeDeterministicManifest(config, [layer])
  assert.equal(
    bytes.toString(),
    `{"schemaVersion":2,"mediaType":"${MEDIA_TYPES.ociManifest}",` +
      `"config":{"mediaType":"${MEDIA_TYPES.ociConfig}","digest":"${config.digest}","size":6},` +
      `"layers":[{"mediaType":"${MEDIA_TYPES.ociLayer}","digest":"${layer.digest}","size":5}]}`,
  )
  const manifest = parseManifest(bytes)
  assert.deepEqual(
    childrenOf(manifest).map(({ digest, size }) => ({ digest, size })),
    [config, layer],
  )
})

test('a body without a media type is known by its shape', () => {
  const image = { schemaVersion: 2, config: { ...config, mediaType: 'x' }, layers: [] }
  assert.equal(parse(image).mediaType, MEDIA_TYPES.ociManifest)
  assert.equal(parse({ schemaVersion: 2, manifests: [] }).mediaType, MEDIA_TYPES.ociIndex)
})

const WRONG: Readonly<Record<string, unknown>> = {
  'a list': [],
  'both kinds at once': { schemaVersion: 2, manifests: [], layers: [] },
  'neither kind': { schemaVersion: 2 },
  'another schema': { schemaVersion: 1, manifests: [] },
  'a media type that does not fit': {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    layers: [],
    config,
  },
  'a negative size': { schemaVersion: 2, config: { ...config, size: -1 }, layers: [] },
  'a digest that is not one': {
    schemaVersion: 2,
    config: { ...config, digest: 'sha256:../../x' },
    layers: [],
  },
}
for (const [what, document] of Object.entries(WRONG)) {
  test(`refuses ${what}`, () => {
    assert.throws(() => parse(document), { code: 'MANIFEST_INVALID' })
  })
}

test('picks the manifest of a platform, never an attestation', () => {
  const entry = (os: string, architecture: string, content: string) => ({
    mediaType: MEDIA_TYPES.ociManifest,
    digest: digestOf(content),
    size: 1,
    platform: { os, architecture },
  })
  const index = parse({
    schemaVersion: 2,
    manifests: [
      entry('unknown', 'unknown', 'a'),
      entry('linux', 'arm64', 'b'),
      entry('linux', 'amd64', 'c'),
    ],
  })
  assert.equal(index.kind, 'index')
  assert.equal(selectPlatform(index, { os: 'linux', architecture: 'amd64' })?.digest, digestOf('c'))
  assert.equal(selectPlatform(index, { os: 'linux', architecture: 's390x' }), undefined)
})

test('any JSON is read or refused with a code', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      try {
        parse(value)
      } catch (error) {
        assert.ok(isOperationError(error, 'MANIFEST_INVALID'), String(error))
      }
    }),
  )
})

test('lists that nest deeper than any stack are refused with a code', () => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  for (const text of [
    `{"schemaVersion":${deep}}`,
    `{"schemaVersion":2,"config":{"digest":${deep}}}`,
    `{"schemaVersion":2,"mediaType":${deep},"config":{}}`,
  ]) {
    assert.throws(() => parseManifest(Buffer.from(text)), { code: 'MANIFEST_INVALID' })
  }
})

function parse(document: unknown) {
  return parseManifest(Buffer.from(JSON.stringify(document)))
}
