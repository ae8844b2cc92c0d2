import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { systemCodeOf } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'

/** A member as it was met last. */
export interface BookedMember {
  readonly nodeId: string
  readonly nodeName: string
  /** where it took connections */
  readonly host: string
  readonly port: number
  /** for the first time, ms */
  readonly metAtMs: number
  /** for the last time, ms; on disk it may be older */
  readonly seenAtMs: number
}

const MAX_MEMBERS = 4096
// Who was not seen for longer makes room; others do not, or invented members could push out honest ones.
const FORGET_MS = 30 * 86_400_000
const MAX_FILE_CHARS = 4 * 1024 * 1024

/** Who was met, and where: `keys/members.json`. Who was off while the key changed is known by it, and finds the others. */
export class MemberBook {
  readonly #path: string
  readonly #members = new Map<string, BookedMember>()
  readonly #metAtMs = new Map<string, number>()
  #writing: Promise<void> = Promise.resolve()
  #isWritePending = false

  private constructor(dataDir: string) {
    this.#path = join(dataDir, 'keys', 'members.json')
  }

  /** What cannot be read is as if nobody had been met. The folder `keys` must exist. */
  static async open(dataDir: string): Promise<MemberBook> {
    const book = new MemberBook(dataDir)
    for (const member of await readMembers(book.#path)) book.#set(member)
    return book
  }

  /** when each was met first, by node id; live */
  get metAtMs(): ReadonlyMap<string, number> {
    return this.#metAtMs
  }

  /** who was seen last comes first */
  all(): BookedMember[] {
    return [...this.#members.values()].sort((a, b) => b.seenAtMs - a.seenAtMs)
  }

  /** Notes that a member was met. It is on disk soon, where that tells anything new. */
  note(
    { nodeId, nodeName, host, port }: Omit<BookedMember, 'metAtMs' | 'seenAtMs'>,
    nowMs: number = Date.now(),
  ): void {
    const known = this.#members.get(nodeId)
    if (!known && !this.#hasRoom(nowMs)) return
    this.#set({ nodeId, nodeName, host, port, metAtMs: known?.metAtMs ?? nowMs, seenAtMs: nowMs })
    if (known?.host === host && known.port === port && known.nodeName === nodeName) return
    this.#write()
  }

  /** Forgets somebody for good. */
  remove(nodeId: string): void {
    this.#metAtMs.delete(nodeId)
    if (this.#members.delete(nodeId)) this.#write()
  }

  /** Resolves when all that was noted is on disk, or could not be put there. */
  async written(): Promise<void> {
    await this.#writing
  }

  #set(member: BookedMember): void {
    this.#members.set(member.nodeId, member)
    this.#metAtMs.set(member.nodeId, member.metAtMs)
  }

  #hasRoom(nowMs: number): boolean {
    if (this.#members.size < MAX_MEMBERS) return true
    const oldest = this.all().at(-1)
    if (!oldest || nowMs - oldest.seenAtMs < FORGET_MS) return false
    this.remove(oldest.nodeId)
    return true
  }

  /** One write for all that changes until it begins. */
  #write(): void {
    if (this.#isWritePending) return
    this.#isWritePending = true
    this.#writing = this.#writing.then(async () => {
      this.#isWritePending = false
      const content = `${JSON.stringify({ members: this.all() })}\n`
      // Without it, a member that is off must be invited again after a change; the next note tries once more.
      await writeFileAtomically(this.#path, content, { mode: 0o600 }).catch(() => undefined)
    })
  }
}

async function readMembers(path: string): Promise<BookedMember[]> {
  try {
    const text = await readFile(path, 'utf8')
    if (text.length > MAX_FILE_CHARS) return []
    const members = asRecord(JSON.parse(text))?.['members']
    return Array.isArray(members) ? members.slice(0, MAX_MEMBERS).filter(isMember) : []
  } catch (error) {
    if (error instanceof SyntaxError || systemCodeOf(error) === 'ENOENT') return []
    throw error
  }
}

function isMember(value: unknown): value is BookedMember {
  const { nodeId, nodeName, host, port, metAtMs, seenAtMs } = asRecord(value) ?? {}
  return (
    typeof nodeId === 'string' &&
    /^[0-9a-f]{64}$/.test(nodeId) &&
    typeof nodeName === 'string' &&
    typeof host === 'string' &&
    Number.isInteger(port) &&
    Number.isSafeInteger(metAtMs) &&
    Number.isSafeInteger(seenAtMs)
  )
}
