import { readFile } from 'node:fs/promises'

/**
 * Resident bytes that a process has for itself (proc(5), status): without the files that it has mapped, which it shares
 * with others of the same program. Undefined where the system does not tell.
 */
export async function ownMemoryOf(pid: number): Promise<number | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/status`, 'utf8')
    const [anonymous, shared] = ['RssAnon', 'RssShmem'].map((field) =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]),
    )
    const bytes = 1024 * ((anonymous ?? Number.NaN) + (shared ?? Number.NaN))
    return Number.isFinite(bytes) ? bytes : undefined
  } catch {
    return undefined
  }
}
