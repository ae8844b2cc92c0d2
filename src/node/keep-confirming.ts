import { messageOf } from '../errors.ts'
import { REFERENCE_LIFETIME_MS } from '../membership/reference-record.ts'
import type { Log } from '../telemetry/log.ts'
import type { ImageRegister } from '../transfer/image-register.ts'

// A name is confirmed in the second half of its life: often enough for a node that sleeps now and then.
const INTERVAL_MS = REFERENCE_LIFETIME_MS / 24

/** Confirms what this node says names mean, now and every hour: while it runs, none of it is taken for old. */
export function keepConfirming({
  register,
  log,
}: {
  register: Pick<ImageRegister, 'confirmNames'>
  log: Log
}): AsyncDisposable {
  const stop = new AbortController()
  let running = confirm()
  const timer = setInterval(() => {
    running = running.then(confirm)
  }, INTERVAL_MS).unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      stop.abort()
      await running
    },
  }

  async function confirm(): Promise<void> {
    try {
      await register.confirmNames({ signal: stop.signal })
    } catch (error) {
      if (!stop.signal.aborted) log.warn({ error: messageOf(error) }, 'names are not confirmed')
    }
  }
}
