#!/usr/bin/env node
/** The program: one command line in, an exit code out. The only process.exit of the project is here. */
import { keepCompiledCode } from '../bin/code-cache.js'

keepCompiledCode()
// loaded only now, so that it is kept
const { runProgram } = await import('./commands/program.ts')
const { OperationError } = await import('./errors.ts')

// Ctrl-C reaches the whole process group, and npm passes it on once more: two at once are one
const SAME_SIGNAL_MS = 250
const LINGER_MS = 3000

// Before anything uses the pool: four threads are soon all waiting for a disk that syncs, and LevelDB behind them.
process.env['UV_THREADPOOL_SIZE'] ??= '16'

process.exitCode = await runProgram({
  argv: process.argv.slice(2),
  stdout: process.stdout,
  stderr: process.stderr,
  signal: interruption(),
  loadNode: () => import('./node.ts'),
})
leaveSoon()

/** Fires with the first SIGINT or SIGTERM; a later one ends the process at once. */
function interruption(): AbortSignal {
  const interrupted = new AbortController()
  let firstAtMs: number | undefined
  const onSignal = () => {
    const nowMs = performance.now()
    if (firstAtMs !== undefined && nowMs - firstAtMs > SAME_SIGNAL_MS) process.exit(130)
    firstAtMs ??= nowMs
    interrupted.abort(new OperationError('INTERRUPTED', 'interrupted'))
  }
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal)
  // a reader that closes its end (`ddocker ls | head`) has read enough
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  return interrupted.signal
}

/** What is done is done: a handle that somebody forgot must not keep the process, unwritten output must. */
function leaveSoon(): void {
  const timer = setInterval(() => {
    if (process.stdout.writableLength + process.stderr.writableLength === 0) process.exit()
  }, LINGER_MS)
  timer.unref()
}
