import type { ErrorBody } from '../control/control-protocol.ts'
import { ERROR_CODES, OperationError } from '../errors.ts'
import type { ExitCode } from './command.ts'
import type { Output } from './output.ts'
import { printable } from './table.ts'
import { count } from './wording.ts'

interface Failure {
  readonly name: string
  readonly error: ErrorBody | undefined
}

/**
 * Says which of several images or nodes failed, and gives the exit code: 0 none, 3 some, 1 all of them.
 * With --json the document has said it already.
 * @param what such as `image`
 */
export function concludeInPart(
  output: Output,
  { what, total, failures }: { what: string; total: number; failures: readonly Failure[] },
): ExitCode {
  const [first] = failures
  if (!first) return 0
  const isAll = failures.length === total
  if (output.isJson) return isAll ? 1 : 3
  for (const { name, error } of failures) {
    output.stderr.write(
      `failed  ${printable(name)}: ${printable(error?.message ?? 'no reason given')}\n`,
    )
  }
  const message = isAll
    ? `${count(total, what)} failed`
    : `${failures.length} of ${count(total, what)} failed`
  output.failure(new OperationError(codeOf(first), message))
  return isAll ? 1 : 3
}

/** What helps the first may help the others. */
function codeOf({ error }: Failure): OperationError['code'] {
  return ERROR_CODES.find((code) => code === error?.code) ?? 'NODE_FAILED'
}
