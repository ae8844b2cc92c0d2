import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { keyOf, rangeOf, type KeyRange } from './keys.ts'
import { parseMark, type ReferenceFiles, type ReferenceMark } from './reference-files.ts'

/**
 * What names mean, one record for each name and signer, and how far each has come. Written first as a file, then
 * here; where the two differ at the start, the higher sequence is right, and at the same sequence the file.
 */
export class ReferenceRecords {
  readonly #database: CatalogDatabase
  readonly #files: ReferenceFiles
  readonly #writing = new KeyedLock()

  constructor(database: CatalogDatabase, files: ReferenceFiles) {
    this.#database = database
    this.#files = files
  }

  /** Makes the entries here and the files agree, whichever of them was damaged or is behind. */
  async reconcile(): Promise<void> {
    const here = new Map<string, ReferenceMark>()
    for await (const mark of this.#marks(rangeOf('reference'))) here.set(keyOfMark(mark), mark)
    const inFiles = new Map((await this.#files.all()).map((mark) => [keyOfMark(mark), mark]))
    const changes = [...inFiles]
      .filter(([key, mark]) => isBehind(here.get(key), mark))
      .map(([key, value]) => ({ key, value }))
    if (changes.length > 0) await this.#database.write(changes, { sync: true })
    for (const [key, mark] of here) {
      const inFile = inFiles.get(key)
      if (!inFile || inFile.sequence < mark.sequence) await this.#files.write(mark)
    }
  }

  /** @returns false, and nothing changes, unless the sequence is above the highest ever seen */
  async put(record: SignedReferenceRecord): Promise<boolean> {
    const { name, nodeId, sequence } = record
    return await this.#writing.run(keyOfMark(record), async () => {
      const last = await this.lastSequence(name, nodeId)
      if (last !== undefined && sequence <= last) return false
      await this.#write({ name, nodeId, sequence, record })
      return true
    })
  }

  /** Forgets what the name means at this signer, but not how far it has come. */
  async remove(name: string, nodeId: string): Promise<void> {
    await this.#writing.run(keyOfMark({ name, nodeId }), async () => {
      const sequence = await this.lastSequence(name, nodeId)
      if (sequence !== undefined) await this.#write({ name, nodeId, sequence })
    })
  }

  async lastSequence(name: string, nodeId: string): Promise<number | undefined> {
    return parseMark(await this.#database.get(keyOfMark({ name, nodeId })))?.sequence
  }

  /** What the signers say about a name. */
  async of(name: string): Promise<SignedReferenceRecord[]> {
    return await Array.fromAsync(this.#records(rangeOf('reference', name)))
  }

  /** In the order of names. */
  all(): AsyncGenerator<SignedReferenceRecord> {
    return this.#records(rangeOf('reference'))
  }

  async #write(mark: ReferenceMark): Promise<void> {
    await this.#files.write(mark)
    await this.#database.write([{ key: keyOfMark(mark), value: mark }], { sync: true })
  }

  async *#records(range: KeyRange): AsyncGenerator<SignedReferenceRecord> {
    for await (const { record } of this.#marks(range)) {
      if (record) yield record
    }
  }

  async *#marks(range: KeyRange): AsyncGenerator<ReferenceMark> {
    for await (const [, value] of this.#database.entries(range)) {
      const mark = parseMark(value)
      if (mark) yield mark
    }
  }
}

function keyOfMark({ name, nodeId }: Pick<ReferenceMark, 'name' | 'nodeId'>): string {
  return keyOf('reference', name, nodeId)
}

function isBehind(here: ReferenceMark | undefined, inFile: ReferenceMark): boolean {
  if (!here || here.sequence !== inFile.sequence) return (here?.sequence ?? -1) < inFile.sequence
  return (here.record === undefined) !== (inFile.record === undefined)
}
