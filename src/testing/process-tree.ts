import { readFileSync } from 'node:fs'

/** The processes that a process has started and that have not ended (proc(5), task/children). */
export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter(Boolean).map(Number)
}

/** Resident bytes of a node: of its process and of those it has started. What they share counts more than once. */
export function memoryOf(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, each) => sum + residentBytes(each), 0)
}

/** proc(5), statm; 0 where it has just ended. */
function residentBytes(pid: number): number {
  try {
    const [, pages = '0'] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')
    return Number(pages) * 4096
  } catch {
    return 0
  }
}
