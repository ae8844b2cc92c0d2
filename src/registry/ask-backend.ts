import { abortable } from '../support/deadline.ts'

interface AskOptions {
  readonly limitMs: number
  /** fires when the client has gone */
  readonly gone: AbortSignal
}

/**
 * The answer of the backend within a limit. The signal it is given goes on to tell that the client has gone,
 * and no more that time is up, once there is an answer.
 * @throws a TimeoutError after the limit; the reason of `gone`
 */
export async function askBackend<Answer>(
  ask: (signal: AbortSignal) => Promise<Answer>,
  { limitMs, gone }: AskOptions,
): Promise<Answer> {
  const late = new AbortController()
  const onLate = () => late.abort(new DOMException('no answer came in time', 'TimeoutError'))
  const timer = setTimeout(onLate, limitMs)
  const signal = AbortSignal.any([gone, late.signal])
  try {
    return await abortable(ask(signal), signal)
  } finally {
    clearTimeout(timer)
  }
}
