import { BufferLender, hold, release } from '../support/buffer-lender.ts'

// Large reads for few readers; many share a bound on what waits in their sockets.
const MAX_READ_BYTES = 256 * 1024
const MIN_READ_BYTES = 32 * 1024
const ALL_READS_BYTES = 8 * 1024 * 1024
const MAX_IDLE_BYTES = 4 * 1024 * 1024
const MAX_KEPT_BYTES = 4 * 1024 * 1024
// No longer: a blob may be removed and fetched again, and who asks then wants the new file.
const FRESH_MS = 1000

interface SharedRead {
  readonly bytes: Promise<Buffer>
  readonly length: number
  readonly atMs: number
}

/**
 * What all reads of a node by its clients share: a bound on the memory that they take, and in a crowd the buffers,
 * for its members are mostly at the same place of the same blob. Few readers are not slowed by any of it.
 */
export class SharedReads {
  /** by source and offset, oldest first */
  readonly #reads = new Map<string, SharedRead>()
  readonly #lender = new BufferLender({ maxBytes: MAX_IDLE_BYTES })
  #keptBytes = 0
  #readers = 0
  readonly #sources = new WeakMap<object, string>()
  #sourceCount = 0

  /** One more reader, until the result is disposed of. */
  enter(): Disposable {
    this.#readers += 1
    return {
      [Symbol.dispose]: () => {
        this.#readers -= 1
        if (!this.isCrowded) this.#clear()
      },
    }
  }

  get isCrowded(): boolean {
    return this.#readBytes < MAX_READ_BYTES
  }

  /** How much to read from `offset` on. Readers who began at different places soon read the same ranges. */
  lengthAt(offset: number): number {
    const bytes = this.#readBytes
    return bytes - (offset % bytes)
  }

  /**
   * The bytes of a range as `readInto` brings them, or as it brought them to somebody else a moment ago. The caller
   * is a user of their buffer.
   * @param range.source what `readInto` reads: bytes that never change
   */
  async read(
    { source, offset, length }: { source: string | object; offset: number; length: number },
    readInto: (bytes: Buffer, offset: number) => Promise<void>,
  ): Promise<Buffer> {
    const load = async () => {
      const bytes = this.#lender.lend(length)
      await readInto(bytes, offset)
      return bytes
    }
    if (!this.isCrowded) return load()
    const key = `${this.#nameOf(source)} ${offset}`
    const found = this.#reads.get(key)
    if (found && found.length >= length && performance.now() - found.atMs < FRESH_MS) {
      // what failed for another may be well for this one: their files are closed one by one
      const bytes = await found.bytes.catch(() => undefined)
      if (bytes) {
        hold(bytes)
        return bytes.subarray(0, length)
      }
    }
    const bytes = load()
    this.#keep(key, { bytes, length, atMs: performance.now() })
    return bytes
  }

  #nameOf(source: string | object): string {
    if (typeof source === 'string') return source
    const known = this.#sources.get(source)
    if (known !== undefined) return known
    this.#sourceCount += 1
    const name = `#${this.#sourceCount}`
    this.#sources.set(source, name)
    return name
  }

  #keep(key: string, read: SharedRead): void {
    this.#drop(key)
    read.bytes.then(hold, () => undefined)
    this.#reads.set(key, read)
    this.#keptBytes += read.length
    for (const oldest of this.#reads.keys()) {
      if (this.#keptBytes <= MAX_KEPT_BYTES) break
      this.#drop(oldest)
    }
  }

  #drop(key: string): void {
    const read = this.#reads.get(key)
    if (!read) return
    this.#keptBytes -= read.length
    this.#reads.delete(key)
    read.bytes.then(release, () => undefined)
  }

  #clear(): void {
    for (const key of this.#reads.keys()) this.#drop(key)
  }

  /** A power of two, so that the ranges of all readers fit together. */
  get #readBytes(): number {
    const share = 2 ** Math.floor(Math.log2(ALL_READS_BYTES / Math.max(1, this.#readers)))
    return Math.max(MIN_READ_BYTES, Math.min(MAX_READ_BYTES, share))
  }
}
