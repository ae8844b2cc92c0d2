import type { ProgressEvent } from '../control/control-protocol.ts'
import { LineProgress } from './line-progress.ts'
import type { Output } from './output.ts'

/** Shows how an operation goes, on stderr. Dispose of it before anything else is printed. */
export interface Progress extends Disposable {
  report(event: ProgressEvent): void
}

/** Live bars where stderr is a terminal, a line per change of state where it is not, nothing with --quiet. */
export async function openProgress(output: Output): Promise<Progress> {
  if (output.isQuiet) return { report: () => undefined, [Symbol.dispose]: () => undefined }
  if (output.stderr.isTTY !== true) return new LineProgress(output.stderr)
  const { TerminalProgress } = await import('./terminal-progress.ts')
  return new TerminalProgress(output)
}
