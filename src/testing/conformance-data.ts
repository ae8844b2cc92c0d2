import { createHash, randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'

import { MEDIA_TYPES } from '../oci/media-types.ts'

/** What a descriptor of a test says; digests of any algorithm. */
export interface TestDescriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly [field: string]: unknown
}

interface ManifestOptions {
  readonly tag?: string
  readonly artifactType?: string
  readonly annotations?: Record<string, string>
  readonly subject?: TestDescriptor
  /** fields of the manifest that nobody knows */
  readonly extra?: Record<string, unknown>
}

interface ImageOptions extends ManifestOptions {
  readonly layerCount?: number
  readonly isCompressed?: boolean
  /** an artifact: the config is `{}`, of the empty type, and the layer of this type */
  readonly artifactLayer?: { readonly mediaType: string; readonly bytes?: Buffer }
  /** further layers, of which nothing is pushed */
  readonly elsewhere?: readonly TestDescriptor[]
  /** descriptors carry what they describe */
  readonly hasData?: boolean
}

const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json'
export const ARTIFACT_TYPES = [
  'application/vnd.example.test.one.v1',
  'application/vnd.example.test.two.v1',
] as const

/** Content to push: blobs, manifests in the order of their needs, tags, and what is expected to refer to what. */
export class TestContent {
  readonly blobs = new Map<string, Buffer>()
  readonly manifests = new Map<string, { bytes: Buffer; mediaType: string; subject?: string }>()
  readonly tags = new Map<string, string>()
  readonly referrers = new Map<string, TestDescriptor[]>()
  readonly #algorithm: 'sha256' | 'sha512'

  constructor(algorithm: 'sha256' | 'sha512' = 'sha256') {
    this.#algorithm = algorithm
  }

  blob(bytes: Buffer = randomBytes(1024), mediaType: string = MEDIA_TYPES.octetStream) {
    const digest = this.digestOf(bytes)
    this.blobs.set(digest, bytes)
    return { mediaType, digest, size: bytes.length }
  }

  image(options: ImageOptions = {}): TestDescriptor {
    const { layerCount = 2, artifactLayer, elsewhere = [], hasData, ...rest } = options
    const withData = (descriptor: TestDescriptor) =>
      hasData
        ? { ...descriptor, data: this.blobs.get(descriptor.digest)?.toString('base64') }
        : descriptor
    const layers = artifactLayer
      ? [this.blob(artifactLayer.bytes, artifactLayer.mediaType)]
      : Array.from({ length: layerCount }, () => this.#layer(options.isCompressed ?? true))
    const config = artifactLayer
      ? this.blob(Buffer.from('{}'), EMPTY_TYPE)
      : this.blob(
          Buffer.from(
            JSON.stringify({ os: 'linux', layers, random: randomBytes(8).toString('hex') }),
          ),
          MEDIA_TYPES.ociConfig,
        )
    return this.#manifest(
      MEDIA_TYPES.ociManifest,
      { config: withData(config), layers: [...elsewhere, ...layers.map(withData)] },
      { fallbackType: config.mediaType, ...rest },
    )
  }

  index(manifests: readonly TestDescriptor[], options: ManifestOptions = {}): TestDescriptor {
    return this.#manifest(MEDIA_TYPES.ociIndex, { manifests }, options)
  }

  digestOf(bytes: Uint8Array): string {
    return `${this.#algorithm}:${createHash(this.#algorithm).update(bytes).digest('hex')}`
  }

  #layer(isCompressed: boolean): TestDescriptor {
    const bytes = randomBytes(2048)
    return isCompressed
      ? this.blob(gzipSync(bytes), MEDIA_TYPES.ociLayerGzip)
      : this.blob(bytes, MEDIA_TYPES.ociLayer)
  }

  #manifest(
    mediaType: string,
    body: object,
    {
      tag,
      artifactType,
      annotations,
      subject,
      extra,
      ...rest
    }: ManifestOptions & {
      fallbackType?: string
    },
  ): TestDescriptor {
    const fields = { ...(artifactType && { artifactType }), ...(annotations && { annotations }) }
    const document = {
      schemaVersion: 2,
      mediaType,
      ...body,
      ...fields,
      ...(subject && { subject }),
      ...extra,
    }
    const bytes = Buffer.from(JSON.stringify(document))
    const digest = this.digestOf(bytes)
    this.manifests.set(digest, { bytes, mediaType, ...(subject && { subject: subject.digest }) })
    if (tag !== undefined) this.tags.set(tag, digest)
    const descriptor = { mediaType, digest, size: bytes.length }
    if (subject) {
      const type = artifactType ?? rest.fallbackType
      const entry = { ...descriptor, ...fields, ...(type && { artifactType: type }) }
      this.referrers.set(subject.digest, [...(this.referrers.get(subject.digest) ?? []), entry])
    }
    return descriptor
  }
}

const unique = () => ({
  [`org.example.${randomBytes(4).toString('hex')}`]: 'x',
  'org.example.a': 'b',
})

function artifact(type: string, options: ImageOptions = {}): ImageOptions {
  return { artifactType: type, artifactLayer: { mediaType: type }, ...options }
}

/** Every kind of content that the conformance suite of the distribution-spec pushes, by its name there. */
export function contentOfEveryKind(): ReadonlyMap<string, TestContent> {
  const [one, two] = ARTIFACT_TYPES
  const kinds = new Map<string, TestContent>()
  const add = (name: string, fill: (content: TestContent) => void, algorithm?: 'sha512') => {
    const content = new TestContent(algorithm)
    fill(content)
    kinds.set(name, content)
  }
  add('image', (c) => c.image({ tag: 'image' }))
  add('image, uncompressed', (c) => c.image({ tag: 'uncompressed', isCompressed: false }))
  add('large manifest', (c) => {
    const entries = Array.from({ length: 390 }, (_, index) => [
      `large-${index}`,
      'A'.repeat(10_000),
    ])
    c.image({ tag: 'large', annotations: Object.fromEntries(entries) })
  })
  add('image index', (c) => c.index([c.image(), c.image()], { tag: 'index' }))
  add('nested image index', (c) => {
    const inner = () => c.index([c.image(), c.image()])
    c.index([inner(), inner()], { tag: 'index-of-index' })
  })
  add('empty image index', (c) => c.index([], { tag: 'index' }))
  add('artifact', (c) => c.image({ ...artifact(one), tag: 'artifact' }))
  add('artifact index', (c) =>
    c.index([c.image(artifact(one)), c.image(artifact(one))], {
      tag: 'artifact-index',
      artifactType: one,
    }),
  )
  add('artifact without layers', (c) => {
    const artifactLayer = { mediaType: EMPTY_TYPE, bytes: Buffer.from('{}') }
    c.image({ tag: 'no-content', artifactType: one, artifactLayer })
  })
  add('artifacts with a subject', (c) => {
    const subject = c.image({ tag: 'image' })
    c.image({ subject })
    c.image({ ...artifact(one), subject, annotations: unique(), tag: 'tagged-1' })
    c.image({ ...artifact(two), subject, annotations: unique(), tag: 'tagged-2' })
  })
  add('image index with a subject', (c) => {
    const subject = c.index([c.image(), c.image()], { tag: 'index' })
    const manifests = [c.image(artifact(one)), c.image(artifact(one))]
    c.index(manifests, { artifactType: one, annotations: unique(), subject, tag: 'tagged' })
    c.index([], { subject, annotations: unique() })
  })
  add('artifact whose subject is missing', (c) => {
    const digest = c.digestOf(randomBytes(8))
    const subject = { mediaType: MEDIA_TYPES.ociManifest, digest, size: 123 }
    c.image({ ...artifact(one), subject, annotations: unique(), tag: 'tagged' })
  })
  add('data field', (c) => c.image({ tag: 'data-field', hasData: true }))
  add('layers that are not distributed', (c) => {
    const elsewhere = ['+gzip', ''].map((suffix) => {
      const digest = c.digestOf(randomBytes(8))
      const mediaType = `application/vnd.oci.image.layer.nondistributable.v1.tar${suffix}`
      return { mediaType, digest, size: 12_345, urls: [`https://store.example.com/${digest}`] }
    })
    c.image({ tag: 'elsewhere', elsewhere, layerCount: 1 })
  })
  add('custom fields', (c) => {
    const extra = { [`org.example.${randomBytes(4).toString('hex')}`]: { '__proto__ ': ['ü'] } }
    c.index([c.image({ extra }), c.image({ extra })], { extra, tag: 'custom-fields' })
  })
  add('no layers', (c) => c.image({ tag: 'no-layers', layerCount: 0 }))
  add('sha512', (c) => c.index([c.image(), c.image()]), 'sha512')
  return kinds
}
