import type { Catalog } from '../catalog/catalog.ts'
import type { ImageBlob, ImageRecord } from '../catalog/image-records.ts'
import type { TransferRecord } from '../catalog/transfer-records.ts'
import type { ExplainedBlob, ExplainResult, NodeOperations } from '../control/control-protocol.ts'
import { OperationError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { canonicalName, formatReference, parseReference, type Reference } from '../oci/reference.ts'
import type { BlobStore } from '../store/blob-store.ts'
import type { BlobFetcher } from '../transfer/blob-fetcher.ts'
import { addBytes, NO_BYTES, type TransferSnapshot } from '../transfer/transfer-record.ts'
import type { UpstreamTags } from '../transfer/upstream-tags.ts'

interface ExplainParts {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly fetcher: BlobFetcher
  readonly upstreamTags?: UpstreamTags | undefined
  readonly doors: () => readonly string[]
}

/** What is known of how a blob came: a transfer under way, or the record of one. */
type Transfer = Omit<TransferRecord, 'id' | 'state'> & Pick<TransferSnapshot, 'state'>

// What came with a longer pause before it belongs to an earlier pull.
const PULL_PAUSE_MS = 600_000

/** Says of each blob of an image how it came here at the last pull. Asks nobody. */
export function explainOperation(parts: ExplainParts): NodeOperations['explain'] {
  return async ({ reference: text }) => {
    const reference = parseReference(text, { doors: parts.doors() })
    const digest = await digestOf(reference, parts)
    const image = digest && (await parts.catalog.image(digest))
    if (!image) {
      throw new OperationError(
        'IMAGE_UNKNOWN',
        `image "${formatReference(reference)}": wanted one that was pulled or shared here, found none of that name`,
      )
    }
    return explain(formatReference(reference), image, parts)
  }
}

async function explain(
  reference: string,
  image: ImageRecord,
  parts: ExplainParts,
): Promise<ExplainResult> {
  const wanted = await blobsOf(image, parts)
  const transfers = await transfersOf(new Set(wanted.map((blob) => blob.digest)), parts)
  const since = startOfLastPull([...transfers.values()])
  const blobs: ExplainedBlob[] = []
  for (const blob of wanted) {
    const transfer = transfers.get(blob.digest)
    const isHere = await parts.store.has(blob.digest)
    const isOfLastPull = transfer !== undefined && transfer.startedAtMs >= since
    blobs.push({
      digest: blob.digest,
      role: blob.role,
      size: blob.size,
      state: isOfLastPull ? transfer.state : isHere ? 'kept' : 'absent',
      bytes: isOfLastPull ? transfer.bytes : { ...NO_BYTES, store: isHere ? blob.size : 0 },
      firstByteMs: isOfLastPull ? transfer.firstByteMs : null,
      ms: isOfLastPull ? transfer.ms : null,
      peers: isOfLastPull ? transfer.peers : [],
      waits: isOfLastPull ? (transfer.waits ?? []) : [],
      ...(isOfLastPull && transfer.upstream !== undefined && { upstream: transfer.upstream }),
      ...(isOfLastPull && transfer.code !== undefined && { code: transfer.code }),
    })
  }
  return {
    reference,
    digest: image.digest,
    ...(Number.isFinite(since) && { startedAtMs: since }),
    blobs,
    bytes: blobs.map(({ bytes }) => bytes).reduce(addBytes, NO_BYTES),
  }
}

/** The image itself and all below it; of an image index, the manifests whose content was wanted here. */
async function blobsOf(
  image: ImageRecord,
  { catalog }: ExplainParts,
): Promise<Pick<ImageBlob, 'digest' | 'size' | 'role'>[]> {
  const { digest, size, blobs } = image
  const children: ImageRecord[] = []
  for (const blob of blobs) {
    const child = blob.role === 'manifest' ? await catalog.image(blob.digest) : undefined
    if (child) children.push(child)
  }
  const below = children.flatMap((child) => [
    { digest: child.digest, size: child.size, role: 'manifest' as const },
    ...child.blobs,
  ])
  const own = blobs.filter((blob) => blob.role !== 'manifest')
  const all = [{ digest, size, role: 'manifest' as const }, ...below, ...own]
  return [...new Map(all.map((blob) => [blob.digest, blob])).values()]
}

async function digestOf(
  reference: Reference,
  { catalog, upstreamTags }: ExplainParts,
): Promise<Digest | undefined> {
  if (reference.digest) return reference.digest
  const { scope, tag } = reference
  const said =
    scope === 'upstream' && tag !== undefined
      ? upstreamTags?.lastSaid(reference, tag, { kind: 'node' })
      : undefined
  if (said) return said
  const records = await catalog.references(canonicalName(reference))
  const known = records.filter(
    ({ nodeName }) => scope !== 'node' || nodeName === reference.nodeName,
  )
  return known.sort((a, b) => b.sequence - a.sequence)[0]?.digest
}

/** The newest transfer of each blob. */
async function transfersOf(
  wanted: ReadonlySet<string>,
  { catalog, fetcher }: ExplainParts,
): Promise<Map<string, Transfer>> {
  const newest = new Map<string, Transfer>()
  for (const transfer of [...fetcher.snapshots(), ...(await catalog.transfers())]) {
    const known = newest.get(transfer.digest)
    if (!wanted.has(transfer.digest)) continue
    if (!known || known.startedAtMs < transfer.startedAtMs) newest.set(transfer.digest, transfer)
  }
  return newest
}

function startOfLastPull(transfers: readonly Transfer[]): number {
  const starts = transfers.map(({ startedAtMs }) => startedAtMs).sort((a, b) => b - a)
  let since = starts[0] ?? Number.POSITIVE_INFINITY
  for (const start of starts) {
    if (since - start > PULL_PAUSE_MS) break
    since = start
  }
  return since
}
