import { setTimeout as delay } from 'node:timers/promises'

import bencode from 'bencode'

import { encodeBlobRecord } from '../membership/blob-record.ts'
import { makeNodeIdentity } from '../membership/node-identity.ts'
import { RequestVerifier } from '../membership/request-proof.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import type { Digest } from '../oci/digest.ts'
import { PeerClient } from '../peering/peer-client.ts'
import type { NodeHello } from '../peering/peer-messages.ts'
import { PeerServer, type PeerHandlers } from '../peering/peer-server.ts'
import { memberSecrets } from '../peering/channel-secret.ts'
import { SecureChannel } from '../peering/secure-channel.ts'
import { encodeInfo, hashPieces, makeTorrent } from '../torrent/metainfo.ts'
import { TorrentEngine, type SeedContent } from '../torrent/torrent-engine.ts'

/** How it harms: always after it was let in, with the key and a name of its own. */
export type Malice =
  /** one byte of every block is another one */
  | 'wrong-bytes'
  /** a sound torrent, of other content, vouched for as this blob */
  | 'wrong-record'
  /** every block is offered, none is given */
  | 'refuses'
  /** all is well until 99 % of it has been given, then nothing more comes */
  | 'stalls'

export interface MaliciousHolder extends AsyncDisposable {
  readonly nodeName: string
  /** Introduces itself to a node, which will ask it for blobs from then on. */
  greet(peerPort: number): Promise<void>
}

/** A member that has one blob, on loopback. */
export async function startMaliciousHolder(options: {
  swarmKey: SwarmKey
  malice: Malice
  nodeName: string
  blob: { readonly digest: Digest; readonly bytes: Buffer }
}): Promise<MaliciousHolder> {
  const { swarmKey, malice, nodeName, blob } = options
  await using opening = new AsyncDisposableStack()
  const identity = makeNodeIdentity()
  const swarmKeys = new SwarmKeys(swarmKey)
  const channel = new SecureChannel({ secrets: memberSecrets(swarmKeys), identity })
  const bytes = malice === 'wrong-record' ? blob.bytes.map((byte) => byte ^ 1) : blob.bytes
  const torrent = makeTorrent({
    digest: blob.digest,
    size: bytes.length,
    pieces: await hashPieces({
      size: bytes.length,
      read: async (offset, length) => Buffer.from(bytes.subarray(offset, offset + length)),
    }),
  })
  const self = (): NodeHello => ({
    nodeId: identity.nodeId,
    nodeName,
    version: '1',
    peerPort: server.port,
  })
  const handlers: PeerHandlers = {
    hello: self,
    have: async (digests) =>
      digests
        .filter((digest) => digest === blob.digest)
        .map((digest) => ({ digest, size: bytes.length, state: 'complete' as const })),
    references: async () => [],
    metainfo: async () =>
      Buffer.from(
        bencode.encode({ i: encodeInfo(torrent), r: encodeBlobRecord(torrent, swarmKey) }),
      ),
    blob: async () => undefined,
    warm: async function* () {},
    keys: async () => undefined,
    join: async () => undefined,
    bitTorrent: (socket) => engine.accept(socket),
  }
  const server: PeerServer = opening.use(
    await PeerServer.open({
      host: '127.0.0.1',
      port: 0,
      verifier: new RequestVerifier(swarmKeys),
      channel,
      handlers,
    }),
  )
  const engine = opening.use(
    await TorrentEngine.open({
      peerPort: server.port,
      nodeId: identity.nodeId,
      channel,
      load: async (infoHash) =>
        infoHash === torrent.infoHash
          ? { record: torrent, content: spoiled(malice, bytes), close: async () => undefined }
          : undefined,
    }),
  )
  const client = opening.use(new PeerClient(swarmKeys, channel))
  const opened = opening.move()
  return {
    nodeName,
    greet: async (port) => void (await client.hello({ host: '127.0.0.1', port }, self())),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

function spoiled(malice: Malice, bytes: Uint8Array): SeedContent['content'] {
  let given = 0
  const read = async (offset: number, length: number): Promise<Buffer> => {
    const right = Buffer.from(bytes.subarray(offset, offset + length))
    given += length
    if (malice === 'refuses') throw new Error('no')
    if (malice === 'stalls' && given > 0.99 * bytes.length)
      await delay(3_600_000, undefined, { ref: false })
    if (malice !== 'wrong-bytes') return right
    for (let at = 0; at < right.length; at += 16_384) right[at] = (right[at] ?? 0) ^ 1
    return right
  }
  return { size: bytes.length, hasPiece: () => true, read }
}
