import type { Catalog } from '../catalog/catalog.ts'
import type { TorrentRecord } from '../catalog/torrent-records.ts'
import type {
  ErrorBody,
  NodeOperations,
  PublishedImage,
  PublishRequest,
  PublishResult,
} from '../control/control-protocol.ts'
import { isOperationError, messageOf, OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { canonicalName, formatReference, parseReference, type Reference } from '../oci/reference.ts'
import { heldPartsOf, type HeldParts } from '../publication/held-image.ts'
import { PublicationCheck } from '../publication/publication-check.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { deadline } from '../support/deadline.ts'
import { encodeTorrentFile, magnetLink } from '../torrent/metainfo.ts'
import type { BlobTorrents } from '../transfer/blob-torrents.ts'
import type { ContentAccess } from '../transfer/content-access.ts'
import type { ImageRegister } from '../transfer/image-register.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Publishing } from './publishing.ts'

interface PublishRooms {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly torrents: BlobTorrents
  readonly access: ContentAccess
  readonly upstream: Upstream | undefined
  readonly publishing: Publishing
  readonly doors: () => readonly string[]
  /** the node is in the public swarm and in no other: all that is not private is public already */
  readonly isPublic: boolean
  readonly register: Pick<ImageRegister, 'announceAll'>
  /** who the node is in its own swarm */
  readonly ready: {
    readonly nodeId: string
    readonly nodeName: string
    readonly peerPort: number
  }
}

/** An image that may be published, and where its blobs are. */
interface Chosen {
  readonly reference: Reference
  readonly digest: Digest
  readonly parts: HeldParts
}

const RESOLVE_MS = 10_000
const ADDRESS = /^(?:\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?$/i

/** `publish` and `unpublish`, as the node does them. */
export function publishOperations(
  rooms: PublishRooms,
): Pick<NodeOperations, 'publish' | 'unpublish'> {
  return {
    publish: (request, { signal }) => publishAll(request, { rooms, signal }),
    unpublish: ({ references }) => unpublishAll(references, rooms),
  }
}

async function publishAll(
  request: PublishRequest,
  { rooms, signal }: { rooms: PublishRooms; signal: AbortSignal },
): Promise<PublishResult> {
  const { address } = request
  if (address !== undefined && !ADDRESS.test(address)) {
    throw new OperationError('USAGE', `address: wanted host or host:port, found "${address}"`)
  }
  const { isPublic, publishing } = rooms
  const isFirst = !isPublic && publishing.isEmpty
  const { done, failed } = await eachOf(
    (reference) => publishOne(reference, { request, rooms, signal }),
    { references: request.references, doors: rooms.doors(), signal },
  )
  const publicNode = await publicNodeOf(rooms)
  return {
    swarm: isPublic ? 'public' : 'closed',
    images: done,
    failed,
    ...(publicNode && { publicNode }),
    isFirst: isFirst && done.length > 0,
  }
}

async function publicNodeOf({
  isPublic,
  publishing,
  ready,
}: PublishRooms): Promise<PublishResult['publicNode']> {
  const { nodeId, nodeName, peerPort } = ready
  if (isPublic) return { nodeId, nodeName, port: peerPort }
  const { port } = publishing
  return port === undefined ? undefined : { ...(await publishing.identity()), port }
}

async function publishOne(
  reference: Reference,
  { request, rooms, signal }: { request: PublishRequest; rooms: PublishRooms; signal: AbortSignal },
): Promise<PublishedImage> {
  const { own } = request
  const digest = await rootOf(reference, { rooms, own, signal })
  const chosen = { reference, digest, parts: await heldPartsOf(digest, rooms.store) }
  const torrents = rooms.isPublic
    ? await shareInPublicSwarm(chosen, { own, rooms })
    : await publishBeside(chosen, { own, rooms, signal })
  const port = rooms.isPublic ? rooms.ready.peerPort : rooms.publishing.port
  return describe(chosen, { request, torrents, port })
}

async function publishBeside(
  { reference, digest, parts }: Chosen,
  { own, rooms, signal }: { own: boolean; rooms: PublishRooms; signal: AbortSignal },
): Promise<TorrentRecord[]> {
  if (!own) await new PublicationCheck(rooms).assertFree(reference, parts, { signal })
  const isNamed = reference.tag !== undefined && reference.digest === undefined
  return await rooms.publishing.publish({
    digest,
    isOwn: own,
    images: parts.images,
    blobs: parts.blobs,
    ...(isNamed && { name: canonicalName(reference) }),
    ...(!own && { source: `${reference.registry}/${reference.repository}` }),
  })
}

/** There everything is public but what needed a login. */
async function shareInPublicSwarm(
  { reference, parts }: Chosen,
  { own, rooms }: { own: boolean; rooms: PublishRooms },
): Promise<TorrentRecord[]> {
  const { access, register } = rooms
  if (!own) await new PublicationCheck(rooms).assertNotPrivate(reference, parts)
  else for (const { digest } of [...parts.images, ...parts.blobs]) await access.onShared(digest)
  const torrents: TorrentRecord[] = []
  for (const { digest } of parts.blobs) {
    const torrent = await rooms.torrents.torrentOf(digest)
    if (torrent) torrents.push(torrent)
  }
  await register.announceAll()
  return torrents
}

function describe(
  { reference, digest, parts }: Chosen,
  {
    request,
    torrents,
    port,
  }: {
    request: PublishRequest
    torrents: readonly TorrentRecord[]
    port: number | undefined
  },
): PublishedImage {
  const { own, metainfo, address } = request
  const hasPort = address !== undefined && /[^:]:\d+$/.test(address)
  const peer = address === undefined || hasPort ? address : `${address}:${port ?? 0}`
  const torrentOf = new Map(torrents.map((torrent) => [torrent.digest, torrent]))
  const { images, absentBlobs, listedManifests } = parts
  return {
    reference: formatReference(reference),
    digest,
    own,
    absentBlobs,
    ...(listedManifests > 0 && {
      manifests: { held: images.length - 1, listed: listedManifests },
    }),
    blobs: parts.blobs.flatMap((blob) => {
      const torrent = torrentOf.get(blob.digest)
      if (!torrent) return []
      const { infoHash } = torrent
      return {
        ...blob,
        infoHash,
        magnet: magnetLink(torrent, peer),
        ...(metainfo && { metainfo: encodeTorrentFile(torrent).toString('base64') }),
      }
    }),
  }
}

async function unpublishAll(
  references: readonly string[],
  rooms: PublishRooms,
): ReturnType<NodeOperations['unpublish']> {
  const { publishing, isPublic } = rooms
  if (isPublic) {
    throw new OperationError(
      'NOT_PUBLISHED',
      'this node is in the public swarm alone: all that it holds is public, but for what needed a login',
    )
  }
  const withdraw = async (reference: Reference) => {
    const name = canonicalName(reference)
    const publication = publishing
      .all()
      .find(({ digest, names }) =>
        reference.digest ? digest === reference.digest : names.includes(name),
      )
    if (!publication) {
      const text = formatReference(reference)
      throw new OperationError('NOT_PUBLISHED', `image "${text}": this node does not publish it`)
    }
    const { digest, names } = publication
    await publishing.unpublish(digest)
    return { reference: formatReference(reference), digest, names }
  }
  const { done, failed } = await eachOf(withdraw, { references, doors: rooms.doors() })
  return { images: done, failed, left: publishing.all().length }
}

/** One after the other; what fails is told beside what does not. */
async function eachOf<Result>(
  work: (reference: Reference) => Promise<Result>,
  {
    references,
    doors,
    signal,
  }: { references: readonly string[]; doors: readonly string[]; signal?: AbortSignal },
): Promise<{ done: Result[]; failed: { reference: string; error: ErrorBody }[] }> {
  const done: Result[] = []
  const failed: { reference: string; error: ErrorBody }[] = []
  for (const text of references) {
    signal?.throwIfAborted()
    try {
      done.push(await work(parseReference(text, { doors })))
    } catch (error) {
      signal?.throwIfAborted()
      failed.push({ reference: text, error: bodyOf(error) })
    }
  }
  return { done, failed }
}

function bodyOf(error: unknown): ErrorBody {
  if (error instanceof OperationError) return error.toJSON()
  return new OperationError('NODE_FAILED', messageOf(error)).toJSON()
}

/** The manifest of an image that is here. */
async function rootOf(
  reference: Reference,
  { rooms, own, signal }: { rooms: PublishRooms; own: boolean; signal: AbortSignal },
): Promise<Digest> {
  const named = reference.digest ? [reference.digest] : await digestsNamed(reference, rooms)
  const asked = named.length > 0 ? undefined : await askUpstream(reference, { rooms, own, signal })
  const digests = asked ? [asked] : named
  for (const digest of digests) if (await rooms.store.has(digest)) return digest
  const [first] = digests
  const why = first ? `its manifest ${first} is not here: pull it first` : 'no such name here'
  throw new OperationError('IMAGE_UNKNOWN', `image "${formatReference(reference)}": ${why}`)
}

/** What this node says that a name means comes first: no other member decides what is made public here. */
async function digestsNamed(
  reference: Reference,
  { catalog, ready }: PublishRooms,
): Promise<Digest[]> {
  const { scope, nodeName } = reference
  const records = await catalog.references(canonicalName(reference))
  return records
    .filter((record) => scope !== 'node' || record.nodeName === nodeName)
    .toSorted((a, b) => rank(b) - rank(a) || b.sequence - a.sequence)
    .map(({ digest }) => digest)

  function rank({ nodeId }: { nodeId: string }): number {
    return nodeId === ready.nodeId ? 1 : 0
  }
}

/** What came for a login has no name here that is handed on: its registry knows it. */
async function askUpstream(
  reference: Reference,
  { rooms, own, signal }: { rooms: PublishRooms; own: boolean; signal: AbortSignal },
): Promise<Digest | undefined> {
  const { upstream } = rooms
  const { tag, scope } = reference
  if (!upstream || scope !== 'upstream' || tag === undefined) return undefined
  const identity = { kind: own ? 'node' : 'anonymous' } as const
  try {
    const limited = deadline(RESOLVE_MS, signal)
    return (await upstream.resolve(reference, tag, { identity, signal: limited }))?.digest
  } catch (error) {
    signal.throwIfAborted()
    const isDenied = isOperationError(error, 'UPSTREAM_DENIED')
    throw new OperationError(
      isDenied ? 'PUBLICATION_REFUSED' : 'PUBLICATION_UNPROVEN',
      `image "${formatReference(reference)}": wanted to know what it is without a login, but ${messageOf(error)}`,
      { cause: error },
    )
  }
}
