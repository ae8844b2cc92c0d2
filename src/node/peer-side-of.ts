import { buffer } from 'node:stream/consumers'

import type { Config } from '../config/options.ts'
import type { DiscoverySetting } from '../discovery/discovery-setting.ts'
import { OperationError } from '../errors.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import type { TicketBook } from '../membership/ticket-book.ts'
import {
  parseDigestQuestion,
  parseDigests,
  parseHello,
  parseNames,
  parseWarmOrder,
  type NodeHello,
  type WarmOrder,
  type WarmReport,
} from '../peering/peer-messages.ts'
import { PeerSide, type NodeAnswers } from '../sandbox/peer-side.ts'
import { peerSideFolder } from '../sandbox/peer-side-folder.ts'
import type { PeerSideProcess } from '../sandbox/peer-side-process.ts'
import { makeFolder } from '../support/make-folder.ts'
import { levelOf, type Log } from '../telemetry/log.ts'
import type { PeerAnswers } from '../transfer/peer-answers.ts'

/** What a node answers to peers, once all rooms behind the answers are open. */
export interface Answering {
  readonly answers: PeerAnswers
  hello(caller: NodeHello, address: string): NodeHello
  warm(order: WarmOrder, signal: AbortSignal): AsyncIterable<WarmReport>
  /** @param nodeId who asks for orders of keys, as its connection has proven */
  keys(question: unknown, nodeId: string | undefined): Promise<object | undefined>
  join(ticketId: string): Promise<SwarmKey | undefined>
  /** the blob behind an infohash, where strangers may have it */
  readonly locate: NodeAnswers['calls']['load']
}

interface PeerSideParts {
  readonly config: Config
  readonly settings: readonly DiscoverySetting[]
  readonly identity: NodeIdentity
  readonly swarmKeys: SwarmKeys
  readonly tickets: TicketBook
  readonly launch: () => PeerSideProcess
  /** undefined while the node starts */
  readonly answering: () => Answering | undefined
  readonly log: Log
}

/**
 * Opens the side of this node that talks to peers. Peers are answered as soon as the rooms behind the answers are open.
 * @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE
 */
export async function openPeerSide(parts: PeerSideParts): Promise<PeerSide> {
  const { config, settings, identity, swarmKeys, tickets, launch, answering, log } = parts
  const isPublic = config.swarm === 'public'
  const stateDir = peerSideFolder(config.dataDir)
  await makeFolder(stateDir, { mode: 0o700 })
  return await PeerSide.open({
    settings: {
      isPublic,
      nodeKey: identity.exportKey(),
      discovery: settings,
      host: config.peerHost,
      port: config.peerPort,
      stateDir,
      logLevel: levelOf(log),
      uploadBytesPerSecond: config.uploadBytesPerSecond,
      downloadBytesPerSecond: config.downloadBytesPerSecond,
    },
    swarmKeys,
    launch,
    tickets: isPublic ? undefined : tickets,
    answers: answersTo(answering, swarmKeys),
    log,
  })
}

/** Every question is parsed here too: it comes from the process that talks to strangers. */
export function answersTo(
  answering: () => Answering | undefined,
  swarmKeys: SwarmKeys,
): NodeAnswers {
  const open = () => {
    const answers = answering()
    if (!answers) throw new OperationError('NODE_UNREACHABLE', 'this node is starting')
    return answers
  }
  const known = (swarmKey: SwarmKey | undefined) => swarmKey && swarmKeys.vouchingFor(swarmKey)
  return {
    calls: {
      hello: ({ caller, address }) => open().hello(parseHello(caller), address),
      have: (digests) => open().answers.have(parseDigests({ digests })),
      references: ({ names, swarmKey }) =>
        open().answers.references(parseNames({ names }), known(swarmKey)),
      metainfo: ({ digest, swarmKey }) =>
        open().answers.metainfo(parseDigestQuestion({ digest }), known(swarmKey)),
      blob: async (digest) => {
        const blob = await open().answers.blob(parseDigestQuestion({ digest }))
        return blob && (await buffer(blob.content))
      },
      keys: ({ question, nodeId }) => open().keys(question, nodeId),
      join: (ticketId) => open().join(ticketId),
      load: (infoHash, options) => open().locate(infoHash, options),
    },
    streams: {
      warm: (order, { signal }) => open().warm(parseWarmOrder(order), signal),
    },
  }
}
