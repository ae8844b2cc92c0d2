import { parseDuration } from '../config/option-values.ts'
import type { InviteRequest, InviteResult } from '../control/control-protocol.ts'
import { OperationError } from '../errors.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command, Invocation } from './command.ts'
import { withNodeOrOffline, withoutProgress } from './node-access.ts'

const MAX_LIFETIME_MS = 365 * 86_400_000

/** Prints the name of the swarm. */
export const swarmId: Command = async (invocation) => {
  const result = await withNodeOrOffline(invocation, (operations) =>
    withoutProgress(invocation, operations.swarmId, {}),
  )
  invocation.output.answer(result, () => result.swarmId)
  return 0
}

/** Prints the line that lets others join: exactly that on stdout, and a QR code where it is wanted. */
export const swarmInvite: Command = async (invocation) => {
  const { flags, output } = invocation
  const request = requestOf(invocation)
  const result = await withNodeOrOffline(invocation, (operations) =>
    withoutProgress(invocation, operations.swarmInvite, request),
  )
  const code = flags['qr'] === true && !output.isJson ? await qrCode(result.invite) : undefined
  output.answer(result, () => [result.invite, ...(code ? [code] : [])].join('\n'))
  if (result.expiresAtMs !== undefined) output.note(honouredUntil(result, result.expiresAtMs))
  return 0
}

function requestOf({ flags }: Invocation): InviteRequest {
  const { expires, once, address } = flags
  return {
    ...(typeof expires === 'string' && { lifetimeMs: lifetimeOf(expires) }),
    ...(once === true && { once: true }),
    ...(typeof address === 'string' && { addresses: address.split(',') }),
  }
}

function lifetimeOf(text: string): number {
  const match = /^([1-9]\d{0,5})(s|m|h|d)$/.exec(text)
  const lifetimeMs = match ? parseDuration(text) : 0
  if (lifetimeMs > 0 && lifetimeMs <= MAX_LIFETIME_MS) return lifetimeMs
  throw new OperationError(
    'USAGE',
    `--expires: wanted a duration such as 30s, 10m or 12h, at most 365d, found "${text}"`,
  )
}

function honouredUntil({ once, addresses = [] }: InviteResult, endsAtMs: number): string {
  const who = once === true ? 'one node' : 'whoever has it'
  const time = formatDurationMs(Math.max(0, endsAtMs - Date.now()))
  return `honoured for ${time}, for ${who}, at ${addresses.join(' or ')} while this node runs`
}

async function qrCode(text: string): Promise<string> {
  const { renderUnicodeCompact } = await import('uqr')
  return renderUnicodeCompact(text, { border: 2 })
}
