import { Agent, request } from 'node:http'

import { isOperationError, OperationError, systemCodeOf } from '../errors.ts'
import type { JoinTicket } from '../membership/invite.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { asRecord } from '../oci/descriptor.ts'
import { deadline } from '../support/deadline.ts'
import { guestSecrets } from './channel-secret.ts'
import { dialThrough } from './peer-client.ts'
import { PEER_ROUTES } from './peer-messages.ts'
import { SecureChannel } from './secure-channel.ts'

interface Address {
  readonly host: string
  readonly port: number
}

const ANSWER_MS = 10_000
const MAX_ANSWER_BYTES = 1024

/**
 * Asks the member behind an invite for the swarm key, over a channel that both can only have by the ticket.
 * @throws OperationError INVITE_INVALID: it has expired, is used up or of another node; NODE_UNREACHABLE
 */
export async function joinSwarm(
  { ticket, identity }: { ticket: JoinTicket; identity: NodeIdentity },
  { signal, nowMs = Date.now() }: { signal: AbortSignal; nowMs?: number },
): Promise<{ swarmKey: SwarmKey; host: string; port: number }> {
  if (ticket.expiresAtMs <= nowMs) throw notHonoured('it has expired')
  const channel = new SecureChannel({ secrets: guestSecrets(ticket), identity })
  let failure: unknown
  for (const address of ticket.addresses.map(parseAddress)) {
    try {
      return { swarmKey: await ask(address, channel, deadline(ANSWER_MS, signal)), ...address }
    } catch (error) {
      signal.throwIfAborted()
      failure = error
      // who knows the ticket and refuses it has the last word
      if (isOperationError(error, 'INVITE_INVALID')) break
    }
  }
  throw translate(failure, ticket)
}

async function ask(
  { host, port }: Address,
  channel: SecureChannel,
  signal: AbortSignal,
): Promise<SwarmKey> {
  const agent = new Agent()
  agent.createConnection = dialThrough(channel)
  const { promise, resolve, reject } = Promise.withResolvers<SwarmKey>()
  const asked = request(
    { host, port, path: PEER_ROUTES.join, method: 'POST', agent, signal },
    (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes <= MAX_ANSWER_BYTES) chunks.push(chunk)
      })
      response.once('error', reject)
      response.once('end', () => {
        const key = response.statusCode === 200 ? readKey(Buffer.concat(chunks)) : undefined
        if (key) resolve(key)
        else reject(notHonoured('the member does not honour it'))
      })
    },
  )
  asked.once('error', reject)
  asked.end()
  return promise
}

function parseAddress(text: string): Address {
  const at = text.lastIndexOf(':')
  return { host: text.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(at + 1)) }
}

function readKey(body: Buffer): SwarmKey | undefined {
  let fields: unknown
  try {
    fields = JSON.parse(body.toString())
  } catch {
    return undefined
  }
  const text = asRecord(fields)?.['swarmKey']
  const isKey = typeof text === 'string' && /^[0-9a-f]{64}$/.test(text)
  return isKey ? (Buffer.from(text, 'hex') as SwarmKey) : undefined
}

function translate(failure: unknown, { addresses }: JoinTicket): unknown {
  if (isOperationError(failure, 'INVITE_INVALID')) return failure
  if (systemCodeOf(failure)?.startsWith('ERR_SSL_') === true)
    return notHonoured('it is used up, has expired, or is of another node')
  return new OperationError(
    'NODE_UNREACHABLE',
    `the member behind the invite: wanted an answer at ${addresses.join(' or ')}, found ${systemCodeOf(failure) ?? 'none'}`,
    { cause: failure },
  )
}

function notHonoured(why: string): OperationError {
  return new OperationError('INVITE_INVALID', `invite: ${why}`)
}
