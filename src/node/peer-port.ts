import type { Config } from '../config/options.ts'
import type { Discovery } from '../discovery/discovery.ts'
import { isOperationError, OperationError } from '../errors.ts'
import type { RequestVerifier } from '../membership/request-proof.ts'
import { PeerServer, type PeerHandlers } from '../peering/peer-server.ts'
import type { SecureChannel } from '../peering/secure-channel.ts'
import type { Log } from '../telemetry/log.ts'

const PORT_ATTEMPTS = 20

/** One number for TCP and UDP; with port 0, another is tried where UDP is taken. */
export async function openPeerPort(
  config: Config,
  options: {
    rooms: AsyncDisposableStack
    log: Log
    verifier: RequestVerifier
    handlers: PeerHandlers
    channel: SecureChannel | undefined
    open: (port: number) => Promise<Discovery>
  },
): Promise<{ peerServer: PeerServer; discovery: Discovery }> {
  const { rooms, log, verifier, handlers, channel, open } = options
  const { peerHost: host, peerPort: port } = config
  for (let attempt = 1; ; attempt += 1) {
    const peerServer = await PeerServer.open({
      port,
      verifier,
      handlers,
      channel,
      log,
      ...(host !== undefined && { host }),
    })
    try {
      const discovery = await open(peerServer.port)
      rooms.use(peerServer)
      rooms.use(discovery)
      return { peerServer, discovery }
    } catch (error) {
      await peerServer[Symbol.asyncDispose]()
      if (port !== 0 || attempt >= PORT_ATTEMPTS || !isOperationError(error, 'PORT_IN_USE'))
        throw error
    }
  }
}

/** Handlers for a server that must listen before the rooms behind its answers are open. */
export function lateHandlers(): {
  handlers: PeerHandlers
  answer: (handlers: PeerHandlers) => void
} {
  let known: PeerHandlers | undefined
  const handlers = new Proxy({} as PeerHandlers, {
    get(_target, name: keyof PeerHandlers) {
      if (!known) throw new OperationError('NODE_UNREACHABLE', 'this node is starting')
      return known[name]
    },
  })
  return { handlers, answer: (given) => (known = given) }
}
