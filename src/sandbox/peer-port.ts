import { setTimeout } from 'node:timers/promises'

import type { Discovery } from '../discovery/discovery.ts'
import { isOperationError } from '../errors.ts'
import { PeerServer } from '../peering/peer-server.ts'

const PORT_ATTEMPTS = 20
// A process that was killed gives its port back when the system has taken it down.
const HELD_ATTEMPTS = 20
const HELD_PAUSE_MS = 50

type ServerOptions = Parameters<typeof PeerServer.open>[0]

/**
 * One number for TCP and UDP. With port 0, another is tried where UDP is taken; a port that was asked for may still be
 * held for a moment by a process that has just ended.
 * @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE
 */
export async function openPeerPort(
  options: ServerOptions,
  open: (port: number) => Promise<Discovery>,
): Promise<{ peerServer: PeerServer; discovery: Discovery }> {
  const attempts = options.port === 0 ? PORT_ATTEMPTS : HELD_ATTEMPTS
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await openBoth(options, open)
    } catch (error) {
      if (attempt >= attempts || !isOperationError(error, 'PORT_IN_USE')) throw error
      if (options.port !== 0) await setTimeout(HELD_PAUSE_MS)
    }
  }
}

async function openBoth(
  options: ServerOptions,
  open: (port: number) => Promise<Discovery>,
): Promise<{ peerServer: PeerServer; discovery: Discovery }> {
  const peerServer = await PeerServer.open(options)
  try {
    return { peerServer, discovery: await open(peerServer.port) }
  } catch (error) {
    await peerServer[Symbol.asyncDispose]()
    throw error
  }
}
