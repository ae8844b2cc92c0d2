import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { rangeOf, transferKey } from './keys.ts'

/** One finished transfer of a blob: which byte came from where, and how long it took. */
export interface TransferRecord {
  readonly id: string
  readonly digest: Digest
  /** bytes */
  readonly size: number
  /** bytes by source */
  readonly bytes: { readonly store: number; readonly peers: number; readonly upstream: number }
  /** from the start to the first byte; null where none came */
  readonly firstByteMs: number | null
  readonly ms: number
  readonly state: 'done' | 'failed'
  readonly startedAtMs: number
  readonly peers: readonly TransferPeer[]
  /** what was waited for; older records have none */
  readonly waits?: readonly { readonly what: string; readonly ms: number }[]
  /** registry that could be asked */
  readonly upstream?: string
  /** of the failure */
  readonly code?: string
}

/** What one peer gave to a transfer. */
export interface TransferPeer {
  readonly peer: string
  readonly nodeName?: string
  readonly bytes: number
}

const MAX_TRANSFERS = 1000
// so that not every transfer has to look for the oldest one
const SURPLUS = 64

/** The newest transfers, at most 1000. */
export class TransferRecords {
  readonly #database: CatalogDatabase
  #count: number | undefined

  constructor(database: CatalogDatabase) {
    this.#database = database
  }

  async put(record: TransferRecord): Promise<void> {
    await this.#database.write([{ key: transferKey(record.startedAtMs, record.id), value: record }])
    this.#count = (this.#count ?? (await this.#keys()).length) + 1
    if (this.#count >= MAX_TRANSFERS + SURPLUS) await this.#dropOldest()
  }

  /** Newest first. */
  async newest(limit: number): Promise<TransferRecord[]> {
    const records: TransferRecord[] = []
    const range = { ...rangeOf('transfer'), reverse: true, limit: Math.min(limit, MAX_TRANSFERS) }
    for await (const [, value] of this.#database.entries(range)) {
      if (isTransfer(value)) records.push(value)
    }
    return records
  }

  async #dropOldest(): Promise<void> {
    const keys = await this.#keys()
    const surplus = keys.slice(0, Math.max(0, keys.length - MAX_TRANSFERS))
    this.#count = keys.length - surplus.length
    await this.#database.write(surplus.map((key) => ({ key, value: undefined })))
  }

  async #keys(): Promise<string[]> {
    const entries = await Array.fromAsync(this.#database.rawEntries(rangeOf('transfer')))
    return entries.map(([key]) => key)
  }
}

function isTransfer(value: unknown): value is TransferRecord {
  const fields = asRecord(value)
  return (
    fields !== undefined &&
    typeof fields['id'] === 'string' &&
    isDigest(fields['digest']) &&
    asRecord(fields['bytes']) !== undefined &&
    Array.isArray(fields['peers'])
  )
}
