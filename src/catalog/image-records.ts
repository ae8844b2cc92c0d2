import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import type { CatalogDatabase, Change } from './catalog-database.ts'
import { blobKey, keyOf, partsOf, rangeOf } from './keys.ts'

/** What a blob is to an image. */
export type BlobRole = 'manifest' | 'config' | 'layer'

/** A blob below an image. */
export interface ImageBlob {
  readonly digest: Digest
  /** bytes */
  readonly size: number
  readonly mediaType: string
  readonly role: BlobRole
}

/** An image that this node holds, or is to hold. */
export interface ImageRecord {
  /** of the manifest or image index */
  readonly digest: Digest
  readonly mediaType: string
  /** of the manifest or image index, bytes */
  readonly size: number
  /** everything below it, in the order in which it is wanted; itself not included */
  readonly blobs: readonly ImageBlob[]
  readonly addedAtMs: number
}

const ROLES: readonly unknown[] = ['manifest', 'config', 'layer'] satisfies BlobRole[]

/** The images of the catalog, and under every blob the images that it is below. */
export class ImageRecords {
  readonly #database: CatalogDatabase
  readonly #writing = new KeyedLock()

  constructor(database: CatalogDatabase) {
    this.#database = database
  }

  /** Keeps or replaces an image. @param options.sync returns when it survives a power cut */
  async put(record: ImageRecord, { sync }: { sync: boolean }): Promise<void> {
    await this.#writing.run(record.digest, async () => {
      const kept = new Map(record.blobs.map((blob) => [blobKey(blob.digest, record.digest), blob]))
      const gone = (await this.#blobKeysOf(record.digest)).filter((key) => !kept.has(key))
      const changes = [
        { key: keyOf('image', record.digest), value: record },
        ...[...kept].map(([key, { size, mediaType, role }]) => ({
          key,
          value: { size, mediaType, role },
        })),
        ...gone.map(removal),
      ]
      await this.#database.write(changes, { sync })
    })
  }

  async remove(digest: Digest): Promise<void> {
    await this.#writing.run(digest, async () => {
      const keys = [keyOf('image', digest), ...(await this.#blobKeysOf(digest))]
      await this.#database.write(keys.map(removal), { sync: true })
    })
  }

  async get(digest: Digest): Promise<ImageRecord | undefined> {
    return parseImageRecord(await this.#database.get(keyOf('image', digest)))
  }

  /** In the order of their digests. */
  async *all(): AsyncGenerator<ImageRecord> {
    for await (const [, value] of this.#database.entries(rangeOf('image'))) {
      const record = parseImageRecord(value)
      if (record) yield record
    }
  }

  /** The images that have the blob below them. */
  async holding(digest: Digest): Promise<Digest[]> {
    const images: Digest[] = []
    for await (const [key] of this.#database.entries(rangeOf('blob', digest))) {
      const [, image] = partsOf(key, 2)
      if (isDigest(image)) images.push(image)
    }
    return images
  }

  /** What any image says about a blob, itself included. */
  async descriptorOf(digest: Digest): Promise<ImageBlob | undefined> {
    for await (const [, value] of this.#database.entries(rangeOf('blob', digest))) {
      const blob = parseBlob({ ...asRecord(value), digest })
      if (blob) return blob
    }
    const image = await this.get(digest)
    return image && { digest, size: image.size, mediaType: image.mediaType, role: 'manifest' }
  }

  /** Of an image that is not there: none. What a damaged record leaves behind goes at the next opening. */
  async #blobKeysOf(image: Digest): Promise<string[]> {
    const record = await this.get(image)
    return (record?.blobs ?? []).map((blob) => blobKey(blob.digest, image))
  }
}

function removal(key: string): Change {
  return { key, value: undefined }
}

/** An image from a JSON value that was written by this program. */
export function parseImageRecord(value: unknown): ImageRecord | undefined {
  const { digest, mediaType, size, blobs, addedAtMs } = asRecord(value) ?? {}
  if (!isDigest(digest) || typeof mediaType !== 'string' || typeof size !== 'number')
    return undefined
  if (!Array.isArray(blobs) || typeof addedAtMs !== 'number') return undefined
  const parsed = blobs.map(parseBlob).filter((blob) => blob !== undefined)
  if (parsed.length !== blobs.length) return undefined
  return { digest, mediaType, size, blobs: parsed, addedAtMs }
}

function parseBlob(value: unknown): ImageBlob | undefined {
  const { digest, mediaType, size, role } = asRecord(value) ?? {}
  if (!isDigest(digest) || typeof mediaType !== 'string' || typeof size !== 'number')
    return undefined
  return isRole(role) ? { digest, size, mediaType, role } : undefined
}

function isRole(value: unknown): value is BlobRole {
  return ROLES.includes(value)
}
