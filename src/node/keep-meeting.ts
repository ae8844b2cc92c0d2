import { messageOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { PeerFinder } from '../transfer/peer-finder.ts'

// Soon after the start, when the first nodes have been found, then now and then.
const FIRST_MS = [200, 1000, 3000, 8000]
const LATER_MS = 30_000

/**
 * Says hello to the members that can be found, so that questions need no lookup first.
 * @param options.onLookedAround told when it is known for the first time whether anybody is there
 */
export function keepMeeting({
  finder,
  log,
  onLookedAround,
}: {
  finder: PeerFinder
  log: Log
  onLookedAround: () => void
}): Disposable {
  const stop = new AbortController()
  let round = 0
  let timer = setTimeout(meet, FIRST_MS[0])
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      stop.abort()
    },
  }

  function meet(): void {
    void meetAll().finally(() => {
      if (round === 0) onLookedAround()
      round += 1
      if (!stop.signal.aborted) timer = setTimeout(meet, FIRST_MS[round] ?? LATER_MS).unref()
    })
  }

  async function meetAll(): Promise<void> {
    try {
      for await (const peer of finder.members({ signal: stop.signal })) await finder.greet(peer)
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'meeting the members failed')
    }
  }
}
