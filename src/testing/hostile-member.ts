import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

import { makeNodeIdentity, type NodeIdentity } from '../membership/node-identity.ts'
import { encodeBlobRecord } from '../membership/blob-record.ts'
import { RequestVerifier } from '../membership/request-proof.ts'
import { signReferenceRecord, type SignedReferenceRecord } from '../membership/reference-record.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { PeerServer, type PeerHandlers } from '../peering/peer-server.ts'
import { memberSecrets } from '../peering/channel-secret.ts'
import { SecureChannel } from '../peering/secure-channel.ts'
import { encodeInfo, makeTorrent } from '../torrent/metainfo.ts'
import { pieceCount } from '../torrent/piece-length.ts'

/** A member of a test swarm that keeps to no rule: it answers what a test puts here. */
export interface HostileMember extends AsyncDisposable {
  readonly identity: NodeIdentity
  /** how a node finds it */
  readonly discovery: string
  /** its answer to every question for the meaning of a name */
  references: () => unknown[]
  /** what it says that it holds, and gives: under the digest, whatever the bytes are */
  readonly blobs: Map<Digest, Buffer>
  /** the size that it says its blobs have, where not theirs; it makes a torrent of that size for each */
  claimedBytes: number | undefined
  /** how slow it is to answer */
  waitMs: number
  /** a record with proofs that are in order, of its own or of another identity */
  sign(
    record: Partial<Omit<SignedReferenceRecord, 'nodeId'>> & { name: string },
    options?: { identity?: NodeIdentity; nowMs?: number },
  ): SignedReferenceRecord
}

/** Opens one that knows the key of the swarm, 64 hex digits. */
export async function openHostileMember(
  swarmKeyText: string,
  nodeName = 'mallory',
): Promise<HostileMember> {
  const swarmKey = Buffer.from(swarmKeyText, 'hex') as SwarmKey
  const swarmKeys = new SwarmKeys(swarmKey)
  const identity = makeNodeIdentity()
  const blobs = new Map<Digest, Buffer>()
  const sizeOf = (digest: Digest) => member.claimedBytes ?? blobs.get(digest)?.length ?? 0
  const handlers: PeerHandlers = {
    hello: () => ({ nodeId: identity.nodeId, nodeName, version: '1', peerPort: server.port }),
    have: async (digests) => {
      await delay(member.waitMs)
      return digests
        .filter((digest) => blobs.has(digest))
        .map((digest) => ({ digest, size: sizeOf(digest), state: 'complete' }))
    },
    references: async () => {
      await delay(member.waitMs)
      return member.references()
    },
    metainfo: async (digest) =>
      member.claimedBytes === undefined
        ? undefined
        : metainfoOf({ digest, size: member.claimedBytes, swarmKey }),
    blob: async (digest) => {
      const bytes = blobs.get(digest)
      return bytes && { size: bytes.length, content: Readable.from([bytes]) }
    },
    async *warm() {},
    keys: async () => undefined,
    join: async () => undefined,
    bitTorrent: (socket) => socket.destroy(),
  }
  const server = await PeerServer.open({
    host: '127.0.0.1',
    port: 0,
    verifier: new RequestVerifier(swarmKeys),
    channel: new SecureChannel({ secrets: memberSecrets(swarmKeys), identity }),
    handlers,
  })
  const member: HostileMember = {
    identity,
    discovery: `static:127.0.0.1:${server.port}`,
    references: () => [],
    blobs,
    claimedBytes: undefined,
    waitMs: 0,
    sign: (record, options = {}) =>
      signReferenceRecord(
        {
          digest: digestOf(record.name),
          mediaType: MEDIA_TYPES.ociManifest,
          size: 500,
          sequence: Date.now(),
          nodeName,
          ...record,
        },
        { identity, swarmKey, ...options },
      ),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
  return member
}

/** A manifest with nothing below it that has to be there, of its own for every `text`. */
export function manifestOf(text: string): { digest: Digest; bytes: Buffer; size: number } {
  const config = { mediaType: MEDIA_TYPES.ociConfig, digest: digestOf(text), size: text.length }
  const { ociManifest: mediaType } = MEDIA_TYPES
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [] }))
  return { digest: digestOf(bytes), bytes, size: bytes.length }
}

/** Metainfo with proofs that are in order, of nothing. */
function metainfoOf({
  digest,
  size,
  swarmKey,
}: {
  digest: Digest
  size: number
  swarmKey: SwarmKey
}): Buffer {
  const torrent = makeTorrent({ digest, size, pieces: Buffer.alloc(20 * pieceCount(size)) })
  const parts = [encodeInfo(torrent), encodeBlobRecord(torrent, swarmKey)]
  const [info = '', record = ''] = parts.map((part) => `${part.length}:${part.toString('latin1')}`)
  return Buffer.from(`d1:i${info}1:r${record}e`, 'latin1')
}
