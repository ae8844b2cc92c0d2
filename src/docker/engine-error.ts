import { isOperationError, messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'

const UNAVAILABLE: ReadonlySet<string> = new Set(
  (
    'ENOENT ENOTSOCK ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ENOTFOUND EHOSTUNREACH ENETUNREACH ' +
    'ETIMEDOUT EAI_AGAIN ERR_STREAM_PREMATURE_CLOSE'
  ).split(' '),
)
const NOT_PERMITTED: ReadonlySet<string> = new Set(['EACCES', 'EPERM'])

/**
 * What a failed request to an engine means: ENGINE_UNAVAILABLE, ENGINE_PERMISSION, IMAGE_UNKNOWN (404),
 * else ENGINE_FAILED with the engine's own words. The reason of `signal` and our own errors pass unchanged.
 * @param what the request, as a person would say it
 */
export function engineError(
  error: unknown,
  { what, host, signal }: { what: string; host: string; signal?: AbortSignal | undefined },
): unknown {
  if (signal?.aborted) return signal.reason
  if (isOperationError(error)) return error
  const code = systemCodeOf(error) ?? ''
  const fail = (kind: 'ENGINE_UNAVAILABLE' | 'ENGINE_PERMISSION', found: string) =>
    new OperationError(kind, `engine at ${host}: ${what}: ${found}`, { cause: error })
  if (isTimeout(error)) return fail('ENGINE_UNAVAILABLE', 'no answer in time')
  if (UNAVAILABLE.has(code)) return fail('ENGINE_UNAVAILABLE', messageOf(error))
  if (NOT_PERMITTED.has(code)) return fail('ENGINE_PERMISSION', messageOf(error))
  return answerError(error, what)
}

/** ENGINE_FAILED with the engine's own words. */
export function engineFailed(what: string, text: string, cause?: unknown): OperationError {
  return new OperationError('ENGINE_FAILED', `engine: ${what}: ${text}`, { cause })
}

/** The engine's own words in a line of a progress stream, if it reports a failure. */
export function failureIn(line: unknown): string | undefined {
  const record = asRecord(line)
  const text = asRecord(record?.['errorDetail'])?.['message'] ?? record?.['error']
  return typeof text === 'string' ? text : undefined
}

function answerError(error: unknown, what: string): OperationError {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
  // docker-modem puts `(HTTP code 404) unexpected - ` in front.
  const text = messageOf(error)
    .replace(/^\(HTTP code \d+\).*? - /, '')
    .trim()
  return status === 404
    ? new OperationError('IMAGE_UNKNOWN', `engine: ${what}: ${text}`, { cause: error })
    : engineFailed(what, text, error)
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError')
}
