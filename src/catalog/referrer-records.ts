import { isDigest, type Digest } from '../oci/digest.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { keyOf, partsOf, rangeOf } from './keys.ts'

/**
 * The manifests that refer to a subject, such as its signatures (distribution-spec, Listing Referrers). Made anew
 * from the manifests in the store when lost.
 */
export class ReferrerRecords {
  readonly #database: CatalogDatabase

  constructor(database: CatalogDatabase) {
    this.#database = database
  }

  /** @param subject a digest of any algorithm; it need not be here */
  async put(subject: string, manifest: Digest, { sync = true } = {}): Promise<void> {
    await this.#database.write([{ key: keyOf('referrer', subject, manifest), value: true }], {
      sync,
    })
  }

  async remove(subject: string, manifest: Digest): Promise<void> {
    await this.#database.write([{ key: keyOf('referrer', subject, manifest), value: undefined }])
  }

  /** In the order of their digests. */
  async of(subject: string): Promise<Digest[]> {
    const manifests: Digest[] = []
    for await (const [key] of this.#database.entries(rangeOf('referrer', subject))) {
      const [, manifest] = partsOf(key, 2)
      if (isDigest(manifest)) manifests.push(manifest)
    }
    return manifests
  }
}
