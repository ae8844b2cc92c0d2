import type { PeerAddress } from '../discovery/discovery.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { PeerFinder } from '../transfer/peer-finder.ts'

// Soon after the start, when the first nodes have been found, then now and then.
const FIRST_MS = [200, 1000, 3000, 8000]
const LATER_MS = 30_000
// Who is heard beyond that is met in the next round.
const MAX_NEWCOMERS_AT_ONCE = 16

/** Who tells of nodes that make themselves heard. */
interface Heard {
  on(event: 'heard', listener: (address: PeerAddress) => void): unknown
  off(event: 'heard', listener: (address: PeerAddress) => void): unknown
}

/**
 * Says hello to the members that can be found, so that questions need no lookup first, and at once to those that
 * make themselves heard.
 * @param options.lastKnown where members were once: tried while nobody else is found
 * @param options.onLookedAround told when it is known for the first time whether anybody is there
 */
export function keepMeeting({
  finder,
  lan,
  log,
  onLookedAround,
  lastKnown = () => [],
}: {
  finder: Pick<PeerFinder, 'members' | 'greet' | 'meet'>
  lan: Heard
  log: Log
  onLookedAround: () => void
  lastKnown?: () => readonly PeerAddress[]
}): Disposable {
  const stop = new AbortController()
  let round = 0
  let timer = setTimeout(meet, FIRST_MS[0])
  let newcomers = 0
  lan.on('heard', meetNewcomer)
  return {
    [Symbol.dispose]: () => {
      lan.off('heard', meetNewcomer)
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

  function meetNewcomer(address: PeerAddress): void {
    if (newcomers >= MAX_NEWCOMERS_AT_ONCE) return
    newcomers += 1
    void finder.meet(address).finally(() => (newcomers -= 1))
  }

  async function meetAll(): Promise<void> {
    try {
      let isAlone = true
      for await (const peer of finder.members({ signal: stop.signal })) {
        isAlone = false
        await finder.greet(peer)
      }
      if (isAlone) await Promise.all(lastKnown().map((address) => finder.meet(address)))
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'meeting the members failed')
    }
  }
}
