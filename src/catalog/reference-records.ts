import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import { KeyedLock } from '../support/keyed-lock.ts'
import type { CatalogDatabase } from './catalog-database.ts'
import { keyOf, rangeOf, type KeyRange } from './keys.ts'
import { parseMark, type ReferenceFiles, type ReferenceMark } from './reference-files.ts'
import {
  ANY_NAME,
  credible,
  FLOOR,
  isAbove,
  judgeHeard,
  MAX_NAMES_PER_SIGNER,
} from './reference-rules.ts'

/**
 * What names mean, one record for each name and signer, and how far each has come. Written first as a file, then
 * here; where the two differ at the start, the later is right, and where neither is, the file.
 */
export class ReferenceRecords {
  readonly #database: CatalogDatabase
  readonly #files: ReferenceFiles
  readonly #maxNamesPerSigner: number
  readonly #writing = new KeyedLock()
  readonly #nameCounts = new Map<string, number>()
  readonly #forgotten = new Set<string>()

  constructor(
    database: CatalogDatabase,
    files: ReferenceFiles,
    { maxNamesPerSigner = MAX_NAMES_PER_SIGNER } = {},
  ) {
    this.#database = database
    this.#files = files
    this.#maxNamesPerSigner = maxNamesPerSigner
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
      if (!inFile || isBehind(inFile, mark)) await this.#files.write(mark)
    }
    for (const mark of new Map([...here, ...inFiles]).values()) this.#count(mark)
  }

  /** @returns false, and nothing changes, unless it is above all that was ever seen of name and signer */
  async put(record: SignedReferenceRecord): Promise<boolean> {
    return await this.#writing.run(record.name, async () => {
      const mark = await this.#mark(record)
      if (!isAbove(record, mark)) return false
      await this.#write(markOf(record))
      if (!mark) this.#count(record)
      return true
    })
  }

  /** Like {@link put}, for what a peer handed over: bounded, and nothing of signers that were forgotten. */
  async hear(record: SignedReferenceRecord, self: string): Promise<boolean> {
    const { name, nodeId } = record
    return await this.#writing.run(name, async () => {
      const marks = await Array.fromAsync(this.#marks(rangeOf('reference', name)))
      const isKnown = marks.some((mark) => mark.nodeId === nodeId)
      const nameCount = this.#nameCounts.get(nodeId) ?? 0
      if (!isKnown && nameCount >= this.#maxNamesPerSigner) return false
      const { isTaken, evicted } = judgeHeard(record, marks, self)
      if (!isTaken || this.#forgotten.has(nodeId)) return false
      if (evicted) {
        await this.#write({ name, nodeId: FLOOR, sequence: evicted.sequence })
        await this.#erase(evicted)
      }
      await this.#write(markOf(record))
      if (!isKnown) this.#count(record)
      return true
    })
  }

  /** Forgets what the name means at this signer, but not how far it has come. */
  async remove(name: string, nodeId: string): Promise<void> {
    await this.#writing.run(name, async () => {
      const sequence = await this.lastSequence(name, nodeId)
      if (sequence !== undefined) await this.#write({ name, nodeId, sequence })
    })
  }

  /** Forgets all that a signer ever said, and hears nothing of it again. */
  async forgetSigner(nodeId: string): Promise<void> {
    this.#forgotten.add(nodeId)
    await this.#write({ name: ANY_NAME, nodeId, sequence: Number.MAX_SAFE_INTEGER })
    const marks = await Array.fromAsync(this.#marks(rangeOf('reference')))
    for (const mark of marks) {
      const { name } = mark
      if (mark.nodeId !== nodeId || name === ANY_NAME) continue
      await this.#writing.run(name, async () => {
        await this.#erase(mark)
        // it may have been the one that raised it, to shut others out
        await this.#erase({ name, nodeId: FLOOR })
      })
    }
  }

  async lastSequence(name: string, nodeId: string): Promise<number | undefined> {
    return (await this.#mark({ name, nodeId }))?.sequence
  }

  /** What the signers say about a name; of what is from the future only where there is nothing else. */
  async of(name: string): Promise<SignedReferenceRecord[]> {
    return credible(await Array.fromAsync(this.#records(rangeOf('reference', name))))
  }

  /** In the order of names. */
  all(): AsyncGenerator<SignedReferenceRecord> {
    return this.#records(rangeOf('reference'))
  }

  async #write(mark: ReferenceMark): Promise<void> {
    await this.#files.write(mark)
    await this.#database.write([{ key: keyOfMark(mark), value: mark }], { sync: true })
  }

  async #erase(mark: MarkId): Promise<void> {
    await this.#files.remove(mark)
    await this.#database.write([{ key: keyOfMark(mark), value: undefined }], { sync: true })
    this.#nameCounts.set(mark.nodeId, Math.max(0, (this.#nameCounts.get(mark.nodeId) ?? 0) - 1))
  }

  #count({ name, nodeId }: MarkId): void {
    if (name === ANY_NAME) this.#forgotten.add(nodeId)
    else this.#nameCounts.set(nodeId, (this.#nameCounts.get(nodeId) ?? 0) + 1)
  }

  async #mark(id: MarkId): Promise<ReferenceMark | undefined> {
    return parseMark(await this.#database.get(keyOfMark(id)))
  }

  async *#records(range: KeyRange): AsyncGenerator<SignedReferenceRecord> {
    for await (const { record } of this.#marks(range)) {
      if (record && !this.#forgotten.has(record.nodeId)) yield record
    }
  }

  async *#marks(range: KeyRange): AsyncGenerator<ReferenceMark> {
    for await (const [, value] of this.#database.entries(range)) {
      const mark = parseMark(value)
      if (mark) yield mark
    }
  }
}

type MarkId = Pick<ReferenceMark, 'name' | 'nodeId'>

function markOf(record: SignedReferenceRecord): ReferenceMark {
  const { name, nodeId, sequence } = record
  return { name, nodeId, sequence, record }
}

function keyOfMark({ name, nodeId }: MarkId): string {
  return keyOf('reference', name, nodeId)
}

/** Whether the first of two marks of one name and signer is missing, or older; a removal is newer than its record. */
function isBehind(mark: ReferenceMark | undefined, other: ReferenceMark): boolean {
  if (!mark || mark.sequence !== other.sequence) return (mark?.sequence ?? -1) < other.sequence
  return (mark.record?.expiresAtMs ?? Infinity) < (other.record?.expiresAtMs ?? Infinity)
}
