import { isDigest, type Digest } from '../oci/digest.ts'
import type { Sha512Digest } from '../oci/sha512-digest.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { keyOf } from './keys.ts'

/** Which blob of the store a digest of another algorithm means, as was proven when it was pushed. */
export class AliasRecords {
  readonly #database: CatalogDatabase

  constructor(database: CatalogDatabase) {
    this.#database = database
  }

  /** Survives a power cut. */
  async put(alias: Sha512Digest, digest: Digest): Promise<void> {
    await this.#database.write([{ key: keyOf('alias', alias), value: digest }], { sync: true })
  }

  async get(alias: Sha512Digest): Promise<Digest | undefined> {
    const digest = await this.#database.get(keyOf('alias', alias))
    return isDigest(digest) ? digest : undefined
  }
}
