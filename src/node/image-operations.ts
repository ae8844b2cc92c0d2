import type { Catalog } from '../catalog/catalog.ts'
import type {
  NodeOperations,
  ProgressEvent,
  PullResult,
  SeedResult,
  TorrentResult,
} from '../control/control-protocol.ts'
import { importPath } from '../docker/image-archive.ts'
import { messageOf, OperationError } from '../errors.ts'
import { childrenOf, parseManifest } from '../oci/manifest.ts'
import type { Digest } from '../oci/digest.ts'
import { canonicalName, formatReference, parseReference, type Reference } from '../oci/reference.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { encodeTorrentFile, magnetLink } from '../torrent/metainfo.ts'
import type { BlobTorrents } from '../transfer/blob-torrents.ts'
import type { ImagePuller } from '../transfer/image-puller.ts'
import { IMPORTED } from '../transfer/image-register.ts'
import type { ImageSeeder } from '../transfer/image-seeder.ts'
import { readSmallBlob, StoreSink } from '../transfer/store-sink.ts'
import type { EngineImages } from './engine-images.ts'

interface OfflineRooms {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly seeder: ImageSeeder
  readonly torrents: BlobTorrents
  readonly doors: () => readonly string[]
}

type Report = (event: ProgressEvent) => void

/** Takes the images of an archive or layout, and shares them. */
export function importOperation({
  store,
  catalog,
  seeder,
  doors,
}: OfflineRooms): NodeOperations['import'] {
  return async ({ path, name }, { signal, report }): Promise<SeedResult> => {
    const reference = name === undefined ? undefined : parseReference(name, { doors: doors() })
    if (reference?.digest) {
      throw new OperationError(
        'REFERENCE_INVALID',
        `image "${name}": wanted a name with a tag, found a digest`,
      )
    }
    const sink = new StoreSink({ store, catalog })
    const images = await importPath(path, sink, { signal })
    const [only] = images
    if (reference && (!only || images.length > 1)) {
      throw new OperationError(
        'ARCHIVE_INVALID',
        `${path}: wanted one image to name, found ${images.length}`,
      )
    }
    const seeded: SeedResult['images'][number][] = []
    for (const image of images) {
      await catalog.pin(image.manifest.digest, IMPORTED)
      for (const entry of await seeder.seed(image, reference)) {
        seeded.push({ ...entry, newBytes: seeded.length === 0 ? sink.newBytes : 0 })
        report({ type: 'image', reference: entry.reference, digest: entry.digest, state: 'done' })
      }
    }
    return { images: seeded, failed: [] }
  }
}

/** The .torrent files of the blobs of images that are here. */
export function torrentOperation(rooms: OfflineRooms): NodeOperations['torrent'] {
  return async ({ references }): Promise<TorrentResult> => {
    const torrents: TorrentResult['torrents'][number][] = []
    for (const text of references) {
      const reference = parseReference(text, { doors: rooms.doors() })
      for (const digest of await contentOf(reference, rooms)) {
        const torrent = await rooms.torrents.torrentOf(digest)
        if (!torrent) throw unknownHere(reference, `its blob ${digest} is not in the store`)
        torrents.push({
          reference: formatReference(reference),
          digest,
          size: torrent.size,
          infoHash: torrent.infoHash,
          magnet: magnetLink(torrent),
          metainfo: encodeTorrentFile(torrent).toString('base64'),
        })
      }
    }
    return { torrents }
  }
}

/** Shares what the engine holds. */
export function seedOperations(
  engine: EngineImages,
  doors: () => readonly string[],
): Pick<NodeOperations, 'seed' | 'seedAll'> {
  return {
    seed: ({ references }, options) =>
      engine.seed(
        references.map((text) => parseReference(text, { doors: doors() })),
        options,
      ),
    seedAll: async ({ watch }, options) => {
      const outcome = await engine.seedAll(options)
      if (watch) await engine.watch(options)
      return outcome
    },
  }
}

/** Brings an image here and, if wanted, into the engine. */
export function pullOperation({
  puller,
  engine,
  doors,
}: {
  puller: ImagePuller
  engine: EngineImages
  doors: () => readonly string[]
}): NodeOperations['pull'] {
  return async ({ reference: text, load }, { signal, report }): Promise<PullResult> => {
    const startedAtMs = Date.now()
    const reference = parseReference(text, { doors: doors() })
    const name = formatReference(reference)
    report({ type: 'image', reference: name, state: 'resolving' })
    const image = await reportFailure(name, report, puller.pull(reference, { signal, report }))
    const { digest } = image.root
    if (load) report({ type: 'image', reference: name, digest, state: 'loading' })
    const loaded = load
      ? await reportFailure(name, report, engine.load(image.root, reference, signal))
      : undefined
    report({ type: 'image', reference: name, digest, state: 'done' })
    return {
      reference: name,
      digest,
      size: image.size,
      bytes: image.bytes,
      ms: Date.now() - startedAtMs,
      loaded: loaded !== undefined,
      ...(loaded !== undefined && { engineReference: loaded }),
    }
  }
}

async function reportFailure<Result>(
  reference: string,
  report: Report,
  work: Promise<Result>,
): Promise<Result> {
  try {
    return await work
  } catch (error) {
    report({ type: 'image', reference, state: 'failed', message: messageOf(error) })
    throw error
  }
}

/** Config and layers of every manifest of an image that is here, each once; empty blobs have no torrent. */
async function contentOf(reference: Reference, rooms: OfflineRooms): Promise<Set<Digest>> {
  const { store } = rooms
  const content = new Set<Digest>()
  const queue = [await rootOf(reference, rooms)]
  for (let digest = queue.pop(); digest; digest = queue.pop()) {
    if (!(await store.has(digest))) continue
    const manifest = parseManifest(await readSmallBlob(store, digest))
    for (const child of childrenOf(manifest)) {
      if (manifest.kind === 'index') queue.push(child.digest)
      else if (child.size > 0) content.add(child.digest)
    }
  }
  return content
}

async function rootOf(reference: Reference, { catalog, store }: OfflineRooms): Promise<Digest> {
  if (reference.digest) {
    if (await store.has(reference.digest)) return reference.digest
    throw unknownHere(reference, 'its manifest is not in the store')
  }
  const records = await catalog.references(canonicalName(reference))
  const [newest] = records.sort((a, b) => b.sequence - a.sequence)
  if (!newest) throw unknownHere(reference, 'no such name here')
  return newest.digest
}

function unknownHere(reference: Reference, why: string): OperationError {
  return new OperationError('IMAGE_UNKNOWN', `image "${formatReference(reference)}": ${why}`)
}
