import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MEMORY = '/dev/shm'

/** A directory in memory, so that no disk is measured; where there is none, in the temp dir. */
export interface WorkDirectory extends AsyncDisposable {
  readonly path: string
  readonly isInMemory: boolean
}

/** Makes an empty directory; disposing removes it with all that is in it. */
export async function openWorkDirectory(): Promise<WorkDirectory> {
  const isInMemory = existsSync(MEMORY)
  const path = await mkdtemp(join(isInMemory ? MEMORY : tmpdir(), 'ddocker-bench-'))
  return {
    path,
    isInMemory,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5 }),
  }
}
