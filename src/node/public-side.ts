import type { Config } from '../config/options.ts'
import { parseDiscovery } from '../discovery/discovery-setting.ts'
import type { NodeIdentity } from '../membership/node-identity.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import { PeerSide } from '../sandbox/peer-side.ts'
import { publicSideFolder } from '../sandbox/peer-side-folder.ts'
import type { PeerSideProcess } from '../sandbox/peer-side-process.ts'
import { makeFolder } from '../support/make-folder.ts'
import { levelOf, type Log } from '../telemetry/log.ts'
import { VERSION } from '../version.ts'
import { answersTo, type Answering } from './peer-side-of.ts'
import { refuseWarmOrder } from './warm-operation.ts'

interface PublicSideParts {
  readonly config: Pick<Config, 'dataDir' | 'peerHost' | 'publicPort' | 'publicDiscovery'>
  /** its own, as everything here is: nothing of the closed swarm is among it */
  readonly identity: NodeIdentity
  readonly nodeName: string
  readonly swarmKeys: SwarmKeys
  readonly uploadBytesPerSecond: number | undefined
  readonly launch: () => PeerSideProcess
  /** what strangers get; none of it knows of more than what is published */
  readonly answering: Pick<Answering, 'answers' | 'locate'>
  readonly log: Log
}

/**
 * Opens a second peer side, for everybody. It answers, and asks nobody for content.
 * @throws OperationError PORT_IN_USE, ADDRESS_UNUSABLE, CONFIG_INVALID
 */
export async function openPublicSide(parts: PublicSideParts): Promise<PeerSide> {
  const { config, identity, nodeName, swarmKeys, launch, answering, log } = parts
  const { nodeId } = identity
  const stateDir = publicSideFolder(config.dataDir)
  await makeFolder(stateDir, { mode: 0o700 })
  const self = () => ({ nodeId, nodeName, version: VERSION, peerPort: side.peerPort })
  const all: Answering = {
    ...answering,
    hello: self,
    warm: refuseWarmOrder,
    keys: async () => undefined,
    join: async () => undefined,
  }
  const side = await PeerSide.open({
    settings: {
      isPublic: true,
      nodeKey: identity.exportKey(),
      discovery: parseDiscovery(config.publicDiscovery),
      host: config.peerHost,
      port: config.publicPort,
      stateDir,
      logLevel: levelOf(log),
      uploadBytesPerSecond: parts.uploadBytesPerSecond,
      downloadBytesPerSecond: undefined,
    },
    swarmKeys,
    launch,
    answers: answersTo(() => all, swarmKeys),
    log,
  })
  return side
}
