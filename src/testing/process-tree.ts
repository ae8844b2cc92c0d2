import { readFileSync } from 'node:fs'

/** The processes that a process has started and that have not ended (proc(5), task/children). */
export function childrenOf(pid: number): number[] {
  return read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number)
}

/**
 * Resident bytes of a node: of its process and of those it has started. Files that they have mapped, Node itself for the
 * most part, are the same for all, and count once.
 */
export function memoryOf(pid: number): number {
  const each = [pid, ...childrenOf(pid)].map(statusOf)
  return sumOf(each, 'RssAnon') + sumOf(each, 'RssShmem') + mostOf(each, 'RssFile')
}

/** The same, with the most that the process of the node ever had in place of what it has now. */
export function peakMemoryOf(pid: number): number {
  const children = childrenOf(pid).map(statusOf)
  return statusOf(pid)('VmHWM') + sumOf(children, 'RssAnon') + sumOf(children, 'RssShmem')
}

type Status = (field: string) => number

/** Fields in bytes (proc(5), status); 0 where the process has just ended. */
function statusOf(pid: number): Status {
  const text = read(`/proc/${pid}/status`)
  return (field) => 1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0)
}

function sumOf(statuses: readonly Status[], field: string): number {
  return statuses.reduce((sum, status) => sum + status(field), 0)
}

function mostOf(statuses: readonly Status[], field: string): number {
  return Math.max(...statuses.map((status) => status(field)))
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
