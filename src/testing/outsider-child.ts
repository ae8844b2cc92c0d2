/**
 * A process that is no member and tries to become one, or to learn something: in a host of its own. Reads an
 * OutsiderOrder from stdin, writes an OutsiderReport to stdout. Its argument says what it does:
 *
 *   tries       all that an outsider can try
 *   neighbour   says again what members told the neighbourhood, and waits for who comes
 *   revoked     tries all that a node can that was shut out
 *   beside      says again what a member told the target, from the address of that member
 */
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'

import { openOutsiderDoor } from './outsider-door.ts'
import type { OutsiderOrder } from './outsider-order.ts'
import { OutsiderTally } from './outsider-tally.ts'
import { tryRevokedOverTcp, tryRevokedOverUdp } from './outsider-revoked.ts'
import { holdConnections, tryOverTcp } from './outsider-tcp.ts'
import { repeatMulticast, replayOverUdp, tryMulticast, tryOverUdp } from './outsider-udp.ts'
import { SeededRandom } from './seeded-random.ts'

const WAIT_MS = 3000

const order = JSON.parse(await text(process.stdin)) as OutsiderOrder
const startedAtMs = performance.now()
const tally = new OutsiderTally()
const stage = (part: number) => ({ order, tally, random: new SeededRandom(order.seed + part) })

const roles: Record<string, () => Promise<unknown>> = {
  tries: async () =>
    await Promise.all([
      tryMulticast(stage(0)),
      tryOverTcp(stage(1)),
      tryOverUdp(stage(2)),
      holdConnections(stage(3)),
    ]),
  neighbour: async () => {
    const door = await openOutsiderDoor(order, tally)
    await repeatMulticast(stage(0))
    await setTimeout(WAIT_MS)
    await door[Symbol.asyncDispose]()
  },
  revoked: async () => {
    await using door = await openOutsiderDoor(order, tally)
    await Promise.all([tryRevokedOverTcp(stage(0)), tryRevokedOverUdp(stage(1))])
    await setTimeout(WAIT_MS)
    void door
  },
  beside: async () => await replayOverUdp(stage(0)),
}

await roles[process.argv[2] ?? '']?.()
const report = JSON.stringify(tally.report(performance.now() - startedAtMs))
process.stdout.write(report, () => process.exit())
