import { createHash } from 'node:crypto'
import { lstat, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

import { messageOf } from '../errors.ts'
import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import { asRecord } from '../oci/descriptor.ts'
import { isDigest } from '../oci/digest.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import { diskError } from '../support/disk-error.ts'
import type { Log } from '../telemetry/log.ts'

/** How far the sequence of a name has come at one signer, and its record unless that was removed. */
export interface ReferenceMark {
  readonly name: string
  readonly nodeId: string
  readonly sequence: number
  readonly record?: SignedReferenceRecord
}

const SUFFIX = '.json'
const MAX_FILE_BYTES = 64 * 1024
const READ_CONCURRENCY = 16

/**
 * Every mark as a small file of its own, `<SHA-256 of name and node id>.json`, replaced atomically. A mark that is
 * forgotten would let an old record pass for a new one (TUF, rollback attack), so the marks do not depend on LevelDB.
 */
export class ReferenceFiles {
  readonly #path: string
  readonly #log: Log

  private constructor(path: string, log: Log) {
    this.#path = path
    this.#log = log
  }

  /** @throws OperationError DATA_DIR_UNUSABLE, DISK_FULL, DISK_READ_ONLY */
  static async open(path: string, log: Log): Promise<ReferenceFiles> {
    try {
      await mkdir(path, { recursive: true })
    } catch (error) {
      throw diskError(error, `reference records ${path}`)
    }
    return new ReferenceFiles(path, log)
  }

  /** @throws OperationError DISK_FULL, DISK_READ_ONLY, DISK_FAULTY: the former file is still there */
  async write(mark: ReferenceMark): Promise<void> {
    const text = JSON.stringify(mark)
    const content = JSON.stringify({ check: crc32(text), mark })
    try {
      await writeFileAtomically(this.#fileOf(mark), content)
    } catch (error) {
      throw diskError(error, `reference record ${mark.name}`)
    }
  }

  /** @throws OperationError DISK_READ_ONLY, DISK_FAULTY */
  async remove(mark: Pick<ReferenceMark, 'name' | 'nodeId'>): Promise<void> {
    try {
      await rm(this.#fileOf(mark), { force: true })
    } catch (error) {
      throw diskError(error, `reference record ${mark.name}`)
    }
  }

  /** All marks whose files are whole. */
  async all(): Promise<ReferenceMark[]> {
    const names = await readdir(this.#path)
    const marks = await mapConcurrently(names, READ_CONCURRENCY, (name) => this.#read(name))
    return marks.filter((mark) => mark !== undefined)
  }

  async #read(fileName: string): Promise<ReferenceMark | undefined> {
    const path = join(this.#path, fileName)
    if (!fileName.endsWith(SUFFIX)) {
      // what a crash left of a file that was being written
      await rm(path, { recursive: true, force: true }).catch(() => undefined)
      return undefined
    }
    try {
      const found = await lstat(path)
      if (!found.isFile() || found.size > MAX_FILE_BYTES) throw new TypeError('no file of a mark')
      return parseMarkFile(await readFile(path, 'utf8'))
    } catch (error) {
      this.#log.warn({ path, error: messageOf(error) }, 'reference record is damaged')
      return undefined
    }
  }

  #fileOf({ name, nodeId }: Pick<ReferenceMark, 'name' | 'nodeId'>): string {
    const hex = createHash('sha256').update(`${name}\0${nodeId}`).digest('hex')
    return join(this.#path, `${hex}${SUFFIX}`)
  }
}

/** A mark from a JSON value that was written by this program. */
export function parseMark(value: unknown): ReferenceMark | undefined {
  const { name, nodeId, sequence, record } = asRecord(value) ?? {}
  if (typeof name !== 'string' || typeof nodeId !== 'string') return undefined
  if (typeof sequence !== 'number' || !Number.isSafeInteger(sequence)) return undefined
  const parsed = parseKeptRecord(record)
  return { name, nodeId, sequence, ...(parsed && { record: parsed }) }
}

/** A record from a JSON value that was written by this program, which had proven it. */
export function parseKeptRecord(value: unknown): SignedReferenceRecord | undefined {
  const fields = asRecord(value)
  const isWhole =
    fields !== undefined &&
    isDigest(fields['digest']) &&
    typeof fields['size'] === 'number' &&
    typeof fields['sequence'] === 'number' &&
    typeof fields['expiresAtMs'] === 'number' &&
    ['name', 'mediaType', 'nodeId', 'nodeName', 'signature', 'mac'].every(
      (field) => typeof fields[field] === 'string',
    )
  return isWhole ? (fields as unknown as SignedReferenceRecord) : undefined
}

function parseMarkFile(text: string): ReferenceMark {
  const { check, mark } = asRecord(JSON.parse(text)) ?? {}
  if (check !== crc32(JSON.stringify(mark) ?? '')) throw new TypeError('its check does not fit')
  const parsed = parseMark(mark)
  if (!parsed) throw new TypeError('it is no mark')
  return parsed
}
