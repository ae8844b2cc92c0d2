/**
 * The checks of the conformance suite of the OCI distribution-spec (its released and its new form), against a real
 * node over HTTP: ping, empty lists, every way to push a blob, ranges, every kind of content, deletion.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, suite, test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { BLOB_PUSHES, ConformanceClient, randomBlob, withDigest } from './conformance-client.ts'
import { contentOfEveryKind, TestContent } from './conformance-data.ts'
import { openTestnet, type TestNode, type Testnet } from './testnet.ts'

/** Declares the checks for one repository, and another to mount from. */
export function conformsToDistribution(repository: string, otherRepository: string): void {
  suite(`a node conforms to the distribution-spec as ${repository}`, () => {
    let testnet: Testnet
    let node: TestNode
    let client: ConformanceClient
    let other: ConformanceClient

    before(async () => {
      testnet = await openTestnet()
      node = await testnet.start('registry')
      const root = `http://${node.node.ready.registry}`
      client = new ConformanceClient(root, repository)
      other = new ConformanceClient(root, otherRepository)
    })
    after(() => testnet[Symbol.asyncDispose]())

    test('answers the ping', async () => {
      const { headers } = await client.expect(200, 'GET', '/v2/')
      assert.equal(headers.get('docker-distribution-api-version'), 'registry/2.0')
    })

    test('knows of an empty repository that nothing refers to anything in it', async () => {
      await client.expect([200, 404], 'GET', client.path('tags/list'))
      assert.deepEqual((await client.referrers(digestOf(randomBytes(8)))).manifests, [])
      await client.expect(400, 'GET', client.path('referrers/sha256:bad'))
    })

    for (const algorithm of ['sha256', 'sha512'] as const) {
      const content = new TestContent(algorithm)

      test(`has no blob that was not pushed (${algorithm})`, async () => {
        await client.expect(404, 'GET', client.path(`blobs/${randomBlob(content).digest}`))
      })

      for (const way of BLOB_PUSHES) {
        for (const isOutOfOrder of way.startsWith('chunked') ? [false, true] : [false]) {
          const how = `${way}${isOutOfOrder ? ', out of order' : ''} (${algorithm})`
          test(`takes a blob: ${how}`, async () => {
            const blob = randomBlob(content, 4096 * 3 - 5)
            await client.pushBlob(way, { ...blob, isOutOfOrder })
            await client.pushBlob(way, { ...blob, isOutOfOrder })
            await client.readBlob(blob.digest, blob.bytes)
            await client.deleteBlob(blob.digest)
            await client.expect(404, 'DELETE', client.path(`blobs/${blob.digest}`))
          })
        }
      }

      test(`refuses a blob with a wrong digest, however it is pushed (${algorithm})`, async () => {
        const { digest } = randomBlob(content)
        for (const way of BLOB_PUSHES) {
          await client.pushBlob(way, { digest, bytes: randomBytes(4096), status: 400 })
        }
        await client.expect(404, 'GET', client.path(`blobs/${digest}`))
      })

      test(`mounts a blob that is here, from a repository and from anywhere (${algorithm})`, async () => {
        for (const from of [otherRepository, undefined]) {
          const blob = randomBlob(content)
          await other.pushBlob('post and put', blob)
          assert.ok(await client.mount({ ...blob, ...(from !== undefined && { from }) }))
          await client.readBlob(blob.digest, blob.bytes)
          await client.deleteBlob(blob.digest)
          await other.readBlob(blob.digest, blob.bytes)
          await other.deleteBlob(blob.digest)
        }
      })

      test(`offers an upload in place of a mount of what is not here (${algorithm})`, async () => {
        for (const from of [otherRepository, undefined, 'Not-A-Name']) {
          const blob = randomBlob(content)
          assert.ok(!(await client.mount({ ...blob, ...(from !== undefined && { from }) })))
          await client.deleteBlob(blob.digest)
        }
      })

      test(`serves ranges of a blob (${algorithm})`, async () => {
        const { digest, bytes } = randomBlob(content, 2048)
        await client.pushBlob('streamed', { digest, bytes })
        for (const [range, start, end] of [
          ['500-1499', 500, 1499],
          ['500-', 500, 2047],
          ['-500', 1548, 2047],
          ['2000-5000', 2000, 2047],
        ] as const) {
          const headers = { Range: `bytes=${range}` }
          const part = await client.expect(206, 'GET', client.path(`blobs/${digest}`), { headers })
          assert.equal(part.headers.get('content-range'), `bytes ${start}-${end}/2048`)
          assert.equal(part.headers.get('content-length'), String(end - start + 1))
          assert.ok(part.bytes.equals(bytes.subarray(start, end + 1)))
        }
        for (const range of ['500-0', '5000-10000']) {
          const headers = { Range: `bytes=${range}` }
          await client.expect(416, 'GET', client.path(`blobs/${digest}`), { headers })
        }
        await client.deleteBlob(digest)
      })

      test(`takes an empty blob, and empty JSON (${algorithm})`, async () => {
        for (const text of ['', '{}']) {
          const bytes = Buffer.from(text)
          const blob = { digest: content.digestOf(bytes), bytes }
          for (const way of ['post and put', 'streamed', 'post only', 'chunked'] as const) {
            await client.pushBlob(way, blob)
            await client.readBlob(blob.digest, bytes)
            await client.deleteBlob(blob.digest)
          }
        }
      })
    }

    test('forgets an upload that is cancelled', async () => {
      const location = await client.beginUpload()
      await client.expect(204, 'DELETE', location)
      await client.expect(404, 'GET', location)
      await client.expect(404, 'PUT', withDigest(location, digestOf('x')), { body: 'x' })
    })

    test('refuses a chunk that was sent before, and says how far the upload is', async () => {
      const location = await client.beginUpload()
      const headers = { 'Content-Range': '0-2' }
      await client.expect(202, 'PATCH', location, { body: 'abc', headers })
      const again = await client.expect(416, 'PATCH', location, { body: 'abc', headers })
      assert.equal(again.headers.get('range'), '0-2')
      const { headers: found } = await client.expect(204, 'GET', location)
      assert.equal(found.get('range'), '0-2')
      assert.equal(found.get('location'), location)
      await client.expect(201, 'PUT', withDigest(location, digestOf('abc')))
    })

    for (const [kind, content] of contentOfEveryKind()) {
      test(`takes, serves, lists and deletes: ${kind}`, async () => {
        await client.push(content)
        await client.listTags(content)
        await client.read(content)
        await client.listReferrers(content)
        await client.delete(content)
        const tags = await client.tags()
        for (const tag of content.tags.keys()) assert.ok(!tags.includes(tag))
      })
    }

    test('takes again what was pushed, and what was deleted', async () => {
      const content = new TestContent()
      const subject = content.image({ tag: 'again' })
      content.image({ subject })
      await client.push(content)
      await client.push(content)
      await client.delete(content)
      await client.push(content)
      await client.read(content)
      await client.listReferrers(content)
      await client.delete(content)
    })

    test('has no manifest that was not pushed', async () => {
      await client.expect(404, 'GET', client.path(`manifests/${digestOf(randomBytes(9))}`))
      await client.expect(404, 'GET', client.path('manifests/missing-tag'))
      await client.expect([400, 404], 'GET', client.path('manifests/sha256:baddigeststring'))
    })

    test('refuses a manifest under a digest that is not its own, or none', async () => {
      const content = new TestContent()
      const { digest } = content.image()
      for (const [blob, bytes] of content.blobs) {
        await client.pushBlob('post only', { digest: blob, bytes })
      }
      const body = `${content.manifests.get(digest)?.bytes.toString()}  `
      const headers = { 'Content-Type': MEDIA_TYPES.ociManifest }
      for (const reference of [digest, 'sha256:baddigeststring']) {
        const path = client.path(`manifests/${reference}`)
        const { bytes } = await client.expect(400, 'PUT', path, { body, headers })
        assert.equal(JSON.parse(bytes.toString()).errors[0].code, 'DIGEST_INVALID')
      }
      await client.expect(404, 'GET', client.path(`manifests/${digest}`))
    })

    test('refuses a manifest whose blobs were not pushed', async () => {
      const content = new TestContent()
      const { digest } = content.image()
      const body = content.manifests.get(digest)?.bytes.toString() ?? ''
      const headers = { 'Content-Type': MEDIA_TYPES.ociManifest }
      const { bytes } = await client.expect(404, 'PUT', client.path('manifests/sparse'), {
        body,
        headers,
      })
      assert.equal(JSON.parse(bytes.toString()).errors[0].code, 'MANIFEST_BLOB_UNKNOWN')
      await client.expect(404, 'GET', client.path('manifests/sparse'))
    })

    test('takes tags along with a manifest that is pushed by digest', async () => {
      const content = new TestContent()
      const { digest } = content.image()
      for (const [blob, bytes] of content.blobs) {
        await client.pushBlob('post only', { digest: blob, bytes })
      }
      const query = '?tag=param-1&tag=param-2'
      const answer = await client.putManifest(content, { reference: digest, digest, query })
      assert.equal(answer.headers.get('oci-tag'), 'param-1, param-2')
      const tags = await client.tags()
      assert.ok(tags.includes('param-1') && tags.includes('param-2'))
      await client.deleteManifest(digest)
      assert.deepEqual(await client.tags(), [])
    })
  })
}
