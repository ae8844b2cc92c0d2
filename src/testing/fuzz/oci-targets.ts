import assert from 'node:assert/strict'

import { digestOf, isDigest } from '../../oci/digest.ts'
import { childrenOf, makeDeterministicManifest, parseManifest } from '../../oci/manifest.ts'
import { isManifestType, MEDIA_TYPES } from '../../oci/media-types.ts'
import { canonicalName, isRepositoryName, isTag, parseReference } from '../../oci/reference.ts'
import type { FuzzTarget } from './fuzz.ts'
import { JSON_TEXT, WORDS } from './grammars.ts'
import { countIsSound } from './promises.ts'

/** Names of images in orders and records of peers. */
export function referenceTarget(): FuzzTarget {
  return {
    name: 'image name',
    grammar: WORDS,
    seeds: [
      ...'app app:1 library/app:v1.2-3_4 docker.io/library/app:1 ghcr.io/a/b/c:latest'.split(' '),
      ...'localhost:5000/x [::1]:5000/x:1 127.0.0.1:5151/local/app:1 local/app:1 node/alpha/a/b:1'.split(
        ' ',
      ),
      ...'index.docker.io/a:1 a.b_c__d-e/f--g:1'.split(' '),
      `app@${digestOf('x')}`,
      `local/app:1@${digestOf('x')}`,
    ],
    codes: ['REFERENCE_INVALID', 'DIGEST_INVALID'],
    read(input) {
      const reference = parseReference(input, { doors: ['127.0.0.1:5151'] })
      assert.ok(isRepositoryName(reference.repository), 'repository')
      assert.match(reference.registry, /^[a-z0-9[\]:.-]+$/, 'registry')
      assert.ok(reference.tag === undefined || isTag(reference.tag), 'tag')
      assert.ok(reference.digest === undefined || isDigest(reference.digest), 'digest')
      const name = canonicalName(reference)
      // Behind an address of this host, local/ and node/ have their own meaning.
      if (!/\/(?:local|node)\//.test(name)) assert.equal(canonicalName(parseReference(name)), name)
      return `${reference.scope} ${reference.tag !== undefined} ${reference.digest !== undefined}`
    },
  }
}

/** Manifests and indexes, which peers hand over like other blobs. */
export function manifestTarget(): FuzzTarget {
  const part = { mediaType: MEDIA_TYPES.ociLayer, digest: digestOf('a'), size: 3 }
  const platform = { os: 'linux', architecture: 'amd64', variant: 'v8' }
  return {
    name: 'manifest',
    grammar: JSON_TEXT,
    seeds: [
      makeDeterministicManifest(part, [part, part]).toString(),
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.ociIndex,
        manifests: [{ ...part, platform, annotations: { a: 'b', 'vnd.x': '' } }, part],
      }),
      JSON.stringify({ schemaVersion: 2, config: part }),
    ],
    codes: ['MANIFEST_INVALID'],
    read(input) {
      const manifest = parseManifest(Buffer.from(input))
      assert.ok(isManifestType(manifest.mediaType))
      for (const child of childrenOf(manifest)) {
        assert.ok(isDigest(child.digest) && countIsSound(child.size))
        assert.equal(typeof child.mediaType, 'string')
        assert.equal(Object.getPrototypeOf(child.annotations ?? {}), Object.prototype)
        for (const value of Object.values(child.annotations ?? {}))
          assert.equal(typeof value, 'string')
      }
      return `${manifest.kind} ${Math.min(childrenOf(manifest).length, 8)}`
    },
  }
}
