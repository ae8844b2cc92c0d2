import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'

import type { TestContent, TestDescriptor } from './conformance-data.ts'

const OCTETS = { 'Content-Type': 'application/octet-stream' }
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'

/** The ways in which a blob may be pushed. */
export type BlobPush =
  'post only' | 'post and put' | 'chunked' | 'chunked, last in put' | 'streamed'
export const BLOB_PUSHES: readonly BlobPush[] = [
  'post only',
  'post and put',
  'chunked',
  'chunked, last in put',
  'streamed',
]

interface PushOptions {
  readonly digest: string
  readonly bytes: Buffer
  /** chunks are first sent where they do not belong */
  readonly isOutOfOrder?: boolean
  /** of the last answer; 201 unless a wrong digest is meant */
  readonly status?: number
}

/**
 * A client of the distribution API that checks every answer as the conformance suite of the distribution-spec does:
 * status, headers, bodies, and that every location can be read.
 */
export class ConformanceClient {
  readonly #root: string
  readonly repository: string

  /** @param root such as `http://127.0.0.1:5151` */
  constructor(root: string, repository: string) {
    this.#root = root
    this.repository = repository
  }

  /** A request to a path or to a location that was answered. */
  request(method: string, location: string, init: RequestInit = {}): Promise<Response> {
    return fetch(new URL(location, this.#root), { method, redirect: 'error', ...init })
  }

  async expect(
    status: number | readonly number[],
    method: string,
    location: string,
    init: RequestInit = {},
  ): Promise<Response & { bytes: Buffer }> {
    const response = await this.request(method, location, init)
    const bytes = Buffer.from(await response.arrayBuffer())
    const context = `${method} ${location}: ${bytes.toString('utf8', 0, 500)}`
    assert.ok([status].flat().includes(response.status), `${response.status} of ${context}`)
    if (response.status >= 400 && bytes.length > 0) {
      assert.match(String(JSON.parse(bytes.toString()).errors[0].code), /^[A-Z_]+$/)
    }
    return Object.assign(response, { bytes })
  }

  path(rest: string): string {
    return `/v2/${this.repository}/${rest}`
  }

  /** Pushes a blob in one of the ways, and reads it back from where the answer says. */
  async pushBlob(way: BlobPush, options: PushOptions): Promise<void> {
    const { bytes, digest, status = 201 } = options
    const body = new Uint8Array(bytes)
    const answer = await this.#push(way, { ...options, body })
    if (status !== 201) return
    const location = answer.headers.get('location') ?? ''
    assertDigest(answer, digest)
    const { bytes: found } = await this.expect(200, 'GET', location)
    assert.ok(found.equals(bytes), `${location} is what was pushed`)
  }

  async beginUpload(query = ''): Promise<string> {
    const answer = await this.expect(202, 'POST', this.path(`blobs/uploads/${query}`))
    assert.equal(answer.headers.get('range'), '0-0')
    assert.match(answer.headers.get('docker-upload-uuid') ?? '', /^[0-9a-f-]{36}$/)
    return locationOf(answer)
  }

  /** Mounts a blob. @returns whether it was; else it was uploaded instead */
  async mount({ digest, bytes, from }: PushOptions & { from?: string }): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, ...(from !== undefined && { from }) })
    const path = this.path(`blobs/uploads/?${query.toString()}`)
    const answer = await this.expect([201, 202], 'POST', path)
    const isMounted = answer.status === 201
    const last = isMounted
      ? answer
      : await this.expect(201, 'PUT', withDigest(locationOf(answer), digest), {
          body: new Uint8Array(bytes),
          headers: OCTETS,
        })
    const location = last.headers.get('location') ?? ''
    if (isMounted) assert.equal(location, this.path(`blobs/${digest}`))
    assertDigest(last, digest)
    const { bytes: found } = await this.expect(200, 'GET', location)
    assert.ok(found.equals(bytes))
    return isMounted
  }

  /** Reads a blob by HEAD and GET. */
  async readBlob(digest: string, bytes: Buffer): Promise<void> {
    for (const method of ['HEAD', 'GET']) {
      const answer = await this.expect(200, method, this.path(`blobs/${digest}`))
      assert.equal(answer.headers.get('content-length'), String(bytes.length))
      assertDigest(answer, digest)
      assert.ok(answer.bytes.equals(method === 'HEAD' ? Buffer.alloc(0) : bytes))
    }
  }

  async deleteBlob(digest: string): Promise<void> {
    await this.expect(202, 'DELETE', this.path(`blobs/${digest}`))
    await this.expect(404, 'HEAD', this.path(`blobs/${digest}`))
  }

  /** @param options.reference a tag, or the digest */
  async putManifest(
    content: TestContent,
    { reference, digest, query = '' }: { reference: string; digest: string; query?: string },
  ): Promise<Response> {
    const manifest = content.manifests.get(digest)
    assert.ok(manifest)
    const { bytes, mediaType, subject } = manifest
    const answer = await this.expect(201, 'PUT', this.path(`manifests/${reference}${query}`), {
      body: new Uint8Array(bytes),
      headers: { 'Content-Type': mediaType },
    })
    assertDigest(answer, digest)
    assert.equal(answer.headers.get('oci-subject'), subject ?? null)
    const found = await this.expect(200, 'GET', answer.headers.get('location') ?? '')
    assert.equal(found.headers.get('content-type'), mediaType)
    assert.ok(found.bytes.equals(bytes))
    return answer
  }

  /** Pushes all blobs, the manifests by digest, then the tags. */
  async push(content: TestContent): Promise<void> {
    for (const [digest, bytes] of content.blobs) {
      const way = BLOB_PUSHES[digest.charCodeAt(10) % BLOB_PUSHES.length] ?? 'post and put'
      await this.pushBlob(way, { digest, bytes })
    }
    for (const digest of content.manifests.keys()) {
      await this.putManifest(content, { reference: digest, digest })
    }
    for (const [tag, digest] of content.tags) {
      await this.putManifest(content, { reference: tag, digest })
    }
  }

  /** Reads everything by HEAD and GET, under every name. */
  async read(content: TestContent): Promise<void> {
    const references = [...content.tags, ...[...content.manifests.keys()].map((d) => [d, d])]
    for (const [reference = '', digest = ''] of references) {
      const manifest = content.manifests.get(digest)
      assert.ok(manifest)
      for (const method of ['HEAD', 'GET']) {
        const answer = await this.expect(200, method, this.path(`manifests/${reference}`))
        assert.equal(answer.headers.get('content-type'), manifest.mediaType)
        assert.equal(answer.headers.get('content-length'), String(manifest.bytes.length))
        const digestHeader = answer.headers.get('docker-content-digest')
        if (reference === digest) assert.equal(digestHeader, digest)
        assert.ok(answer.bytes.equals(method === 'HEAD' ? Buffer.alloc(0) : manifest.bytes))
      }
    }
    for (const [digest, bytes] of content.blobs) await this.readBlob(digest, bytes)
  }

  async tags(query = ''): Promise<string[]> {
    const { bytes } = await this.expect(200, 'GET', this.path(`tags/list${query}`))
    return JSON.parse(bytes.toString()).tags
  }

  /** Lists tags, and those behind one in the middle. */
  async listTags(content: TestContent): Promise<void> {
    const all = await this.tags()
    for (const tag of content.tags.keys()) assert.ok(all.includes(tag), `${tag} is listed`)
    assert.deepEqual(all, all.toSorted())
    if (all.length < 2) return
    const middle = Math.trunc(all.length / 2)
    assert.deepEqual(await this.tags(`?last=${all[middle - 1]}`), all.slice(middle))
    assert.deepEqual(await this.tags(`?n=${middle}`), all.slice(0, middle))
  }

  async referrers(
    subject: string,
    query = '',
  ): Promise<{ manifests: TestDescriptor[]; filters: string | null }> {
    const answer = await this.expect(200, 'GET', this.path(`referrers/${subject}${query}`))
    assert.equal(answer.headers.get('content-type'), INDEX_TYPE)
    const { manifests, schemaVersion, mediaType } = JSON.parse(answer.bytes.toString())
    assert.deepEqual({ schemaVersion, mediaType }, { schemaVersion: 2, mediaType: INDEX_TYPE })
    return { manifests, filters: answer.headers.get('oci-filters-applied') }
  }

  /** Lists what refers to every subject, with and without a filter. */
  async listReferrers({ referrers }: TestContent): Promise<void> {
    for (const [subject, expected] of referrers) {
      const { manifests, filters } = await this.referrers(subject)
      assert.equal(filters, null)
      assert.deepEqual(sorted(manifests), sorted(expected))
      for (const artifactType of new Set(expected.map((entry) => entry['artifactType']))) {
        if (typeof artifactType !== 'string') continue
        const query = `?${new URLSearchParams({ artifactType }).toString()}`
        const filtered = await this.referrers(subject, query)
        assert.equal(filtered.filters, 'artifactType')
        const wanted = expected.filter((entry) => entry['artifactType'] === artifactType)
        assert.deepEqual(sorted(filtered.manifests), sorted(wanted))
      }
    }
  }

  /** Deletes tags, manifests and blobs, the last pushed first; each is gone at once. */
  async delete(content: TestContent): Promise<void> {
    for (const tag of content.tags.keys()) await this.deleteManifest(tag)
    for (const digest of [...content.manifests.keys()].toReversed())
      await this.deleteManifest(digest)
    for (const digest of content.blobs.keys()) await this.deleteBlob(digest)
    for (const subject of content.referrers.keys()) {
      assert.deepEqual((await this.referrers(subject)).manifests, [])
    }
  }

  async deleteManifest(reference: string): Promise<void> {
    await this.expect(202, 'DELETE', this.path(`manifests/${reference}`))
    await this.expect(404, 'HEAD', this.path(`manifests/${reference}`))
  }

  async #push(
    way: BlobPush,
    options: PushOptions & { body: Uint8Array<ArrayBuffer> },
  ): Promise<Response> {
    const { digest, body, status = 201 } = options
    const whole = { body, headers: OCTETS }
    switch (way) {
      case 'post only': {
        const query = new URLSearchParams({ digest })
        return this.expect(status, 'POST', this.path(`blobs/uploads/?${query.toString()}`), whole)
      }
      case 'post and put': {
        const location = withDigest(await this.beginUpload(), digest)
        return this.expect(status, 'PUT', location, whole)
      }
      case 'streamed': {
        const location = await this.beginUpload()
        const stream = new Blob([body]).stream()
        const init = { body: stream, headers: OCTETS, duplex: 'half' } as RequestInit
        const patched = await this.expect(202, 'PATCH', location, init)
        return this.expect(status, 'PUT', withDigest(locationOf(patched), digest))
      }
      default:
        return this.#pushChunks(way === 'chunked, last in put', options)
    }
  }

  async #pushChunks(
    isLastInPut: boolean,
    {
      digest,
      body,
      isOutOfOrder = false,
      status = 201,
    }: PushOptions & { body: Uint8Array<ArrayBuffer> },
  ): Promise<Response> {
    let location = await this.beginUpload()
    const chunkBytes = Math.min(body.length, Math.ceil(body.length / 3) + 1)
    const chunk = (start: number) => {
      const end = Math.min(start + chunkBytes, body.length)
      const headers = { ...OCTETS, 'Content-Range': `${start}-${end - 1}` }
      return { end, init: { body: body.subarray(start, end), headers } }
    }
    for (let start = 0; start < body.length;) {
      const { end, init } = chunk(start)
      if (isOutOfOrder) {
        const badStart = end >= body.length ? 0 : end
        const wrong = await this.expect(416, 'PATCH', location, chunk(badStart).init)
        location = locationOf(wrong)
        const answer = await this.expect(204, 'GET', location)
        location = locationOf(answer)
        assert.equal(answer.headers.get('range'), `0-${Math.max(0, start - 1)}`)
      }
      if (isLastInPut && end === body.length) {
        return this.expect(status, 'PUT', withDigest(location, digest), init)
      }
      const answer = await this.expect(202, 'PATCH', location, init)
      assert.equal(answer.headers.get('range'), `0-${end - 1}`)
      location = locationOf(answer)
      start = end
    }
    return this.expect(status, 'PUT', withDigest(location, digest))
  }
}

/** A location with what ends an upload. */
export function withDigest(location: string, digest: string): string {
  return `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`
}

/** Random bytes as options of a push. */
export function randomBlob(
  content: TestContent,
  size = 512,
): Pick<PushOptions, 'digest' | 'bytes'> {
  const bytes = randomBytes(size)
  return { digest: content.digestOf(bytes), bytes }
}

function locationOf(answer: Response): string {
  const location = answer.headers.get('location')
  assert.ok(location, 'there is a location')
  return location
}

function assertDigest(answer: Response, digest: string): void {
  assert.equal(answer.headers.get('docker-content-digest'), digest)
}

function sorted(entries: readonly TestDescriptor[]): TestDescriptor[] {
  return entries.toSorted((a, b) => (a.digest < b.digest ? -1 : 1))
}
