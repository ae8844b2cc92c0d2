import { execFile } from 'node:child_process'

import { deadline } from '../support/deadline.ts'

/** What a program of the host left. */
export interface ProgramResult {
  /** undefined: there is no such program, or it did not end in time */
  readonly code: number | undefined
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program of the host to its end; a failing one is a result. */
export type RunProgram = (program: string, args: readonly string[]) => Promise<ProgramResult>

const TIMEOUT_MS = 20_000
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024

/** Programs as they are found on the path. */
export function programRunner(signal: AbortSignal): RunProgram {
  return (program, args) => {
    const { promise, resolve } = Promise.withResolvers<ProgramResult>()
    const options = { signal: deadline(TIMEOUT_MS, signal), maxBuffer: MAX_OUTPUT_BYTES }
    execFile(program, [...args], options, (error, stdout, stderr) => {
      const failed = typeof error?.code === 'number' ? error.code : undefined
      const code = error ? failed : 0
      resolve({ code, stdout, stderr })
    })
    return promise
  }
}
