import { isDigest, type Digest } from '../oci/digest.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { keyOf, partsOf, rangeOf } from './keys.ts'

/** A reason not to collect a blob. */
export interface Pin {
  readonly digest: Digest
  readonly reason: string
}

/** Pins by digest; one digest may have several reasons. */
export class PinRecords {
  readonly #database: CatalogDatabase

  constructor(database: CatalogDatabase) {
    this.#database = database
  }

  async put({ digest, reason }: Pin): Promise<void> {
    await this.#database.write([{ key: keyOf('pin', digest, reason), value: true }], { sync: true })
  }

  async remove({ digest, reason }: Pin): Promise<void> {
    await this.#database.write([{ key: keyOf('pin', digest, reason), value: undefined }], {
      sync: true,
    })
  }

  async *all(): AsyncGenerator<Pin> {
    // a pin whose value is damaged still holds: its key says all, and too many pins do no harm
    for await (const [key] of this.#database.rawEntries(rangeOf('pin'))) {
      const [digest, reason = ''] = partsOf(key, 2)
      if (isDigest(digest)) yield { digest, reason }
    }
  }
}
