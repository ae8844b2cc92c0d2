/**
 * From the engine into a sink: each image under its names, each layer once.
 *
 *   names ─▶ inspect ─▶ one entry per image ID ─┬─ classic store on this host ─▶ graphdriver-layers
 *                                               └─ else, and when that fails ─▶ GET /images/get in batches
 */
import { isOperationError, messageOf } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import type { Log } from '../telemetry/log.ts'
import type { ArchivedImage } from './archived-image.ts'
import type { BlobSink } from './blob-sink.ts'
import type { DockerDaemon, InspectedImage } from './docker-daemon.ts'
import { engineFailed } from './engine-error.ts'
import { GraphdriverLayers } from './graphdriver-layers.ts'
import { readImageArchive } from './image-archive.ts'

/** The classic store copies what is asked for at once to a temporary folder: that bounds its size. */
const BATCH_IMAGES = 20
const PARALLEL_INSPECTS = 8

export interface ExportProgress {
  readonly imagesDone: number
  readonly imageCount: number
  /** taken into the sink so far */
  readonly bytes: number
}

export interface ExportOptions {
  readonly daemon: DockerDaemon
  /** names or IDs, as the engine knows them */
  readonly names: readonly string[]
  readonly sink: BlobSink
  /** whether an image, by its ID, needs no export; it is left out of the result */
  readonly isKnown?: (id: Digest) => boolean | Promise<boolean>
  readonly signal?: AbortSignal
  /** read the layers of the classic store from its own files where this process may; default true */
  readonly useStoreFiles?: boolean
  /** gets each image as soon as it is whole; the export goes on when it has settled */
  readonly onImage?: (image: ArchivedImage) => void | Promise<void>
  readonly onProgress?: (progress: ExportProgress) => void
  readonly log?: Log
  /** with it, images that fail are reported here and the others go on */
  readonly onFailure?: (names: readonly string[], error: unknown) => void
}

/**
 * Takes images of the engine into a sink: many in one request, so that shared layers come once.
 * @returns the images with those of `names` that they have; none for an ID
 * @throws OperationError IMAGE_UNKNOWN, ENGINE_UNAVAILABLE, ENGINE_FAILED, ARCHIVE_INCOMPLETE (the engine lacks
 *   a layer itself), what the sink throws, the reason of `signal`
 */
export async function exportImages(options: ExportOptions): Promise<ArchivedImage[]> {
  return await new ImageExport(options).run()
}

/** An image to export. */
interface Wanted {
  readonly id: Digest
  readonly names: string[]
  /** as they were asked for, for messages */
  readonly asked: string[]
  readonly diffIds: readonly Digest[]
}

class ImageExport {
  readonly #options: ExportOptions
  readonly #waiting: { readonly signal?: AbortSignal }
  readonly #sink: BlobSink
  readonly #images: ArchivedImage[] = []
  #imageCount = 0
  #imagesDone = 0
  #bytes = 0

  constructor(options: ExportOptions) {
    this.#options = options
    this.#waiting = options.signal ? { signal: options.signal } : {}
    this.#sink = countingSink(options.sink, (bytes) => {
      this.#bytes += bytes
      this.#report()
    })
  }

  async run(): Promise<ArchivedImage[]> {
    const wanted = await this.#findWanted()
    this.#imageCount = wanted.length
    this.#report()
    const layers = await this.#openLayers(wanted)
    const left: Wanted[] = []
    for (const image of wanted) {
      if (!layers || !(await this.#readFiles(image, layers))) left.push(image)
    }
    for (const batch of batchesOf(left)) await this.#exportBatch(batch)
    return this.#images
  }

  async #findWanted(): Promise<Wanted[]> {
    const { daemon, names, isKnown } = this.#options
    const unique = [...new Set(names)]
    const found = await mapConcurrently(unique, PARALLEL_INSPECTS, async (name) =>
      this.#guard([name], async () => await daemon.inspect(name, this.#waiting)),
    )
    const byId = new Map<Digest, Wanted>()
    for (const [index, image] of found.entries()) {
      const name = unique[index]
      if (!image || name === undefined) continue
      const { id, diffIds } = image
      const wanted = byId.get(id) ?? { id, names: [], asked: [], diffIds }
      byId.set(id, wanted)
      wanted.asked.push(name)
      if (!isIdOf(name, image)) wanted.names.push(name)
    }
    const fresh: Wanted[] = []
    for (const image of byId.values()) if (!(await isKnown?.(image.id))) fresh.push(image)
    return fresh
  }

  async #openLayers(wanted: readonly Wanted[]): Promise<GraphdriverLayers | undefined> {
    const { daemon, useStoreFiles = true } = this.#options
    if (!useStoreFiles || wanted.length === 0) return undefined
    const { store, driver, rootDir } = await daemon.describe(this.#waiting)
    const mayBeHere = daemon.isLocal && store === 'graphdriver' && driver === 'overlay2'
    return mayBeHere ? await GraphdriverLayers.open(rootDir) : undefined
  }

  /** @returns false when the files are not as expected: then the engine itself is asked */
  async #readFiles(image: Wanted, layers: GraphdriverLayers): Promise<boolean> {
    let found: ArchivedImage
    try {
      found = await layers.readImage(image, this.#sink, this.#waiting)
    } catch (error) {
      this.#waiting.signal?.throwIfAborted()
      if (isFatal(error)) throw error
      const { id } = image
      const fields = { image: id, error: messageOf(error) }
      this.#options.log?.debug(fields, 'files of the store not usable, asking the engine')
      return false
    }
    await this.#done(found)
    return true
  }

  async #exportBatch(batch: readonly Wanted[]): Promise<void> {
    let found: ArchivedImage[]
    try {
      found = await this.#readExport(batch)
    } catch (error) {
      this.#waiting.signal?.throwIfAborted()
      if (isFatal(error) || !this.#options.onFailure) throw error
      await this.#exportAlone(batch, error)
      return
    }
    for (const image of batch) await this.#take(image, found)
  }

  /** An image that cannot be exported fails its whole batch: then each is tried alone. */
  async #exportAlone(batch: readonly Wanted[], failure: unknown): Promise<void> {
    const [only, ...others] = batch
    if (only && others.length === 0) this.#options.onFailure?.(only.asked, failure)
    else for (const image of batch) await this.#exportBatch([image])
  }

  async #take(image: Wanted, found: readonly ArchivedImage[]): Promise<void> {
    const archived = await this.#guard(image.asked, async () => {
      const match = found.find((candidate) => hasId(candidate, image.id))
      if (!match) throw engineFailed(`export ${image.id}`, 'it is not in the tar')
      return match
    })
    if (archived) await this.#done({ ...archived, names: image.names })
  }

  async #readExport(batch: readonly Wanted[]): Promise<ArchivedImage[]> {
    const ids = batch.map(({ id }) => id)
    const tar = await this.#options.daemon.exportImages(ids, this.#waiting)
    try {
      return await readImageArchive(tar, this.#sink, this.#waiting)
    } finally {
      tar.destroy()
    }
  }

  /** Runs a step for some images; a failure of theirs is reported where somebody listens. */
  async #guard<Result>(
    names: readonly string[],
    step: () => Promise<Result>,
  ): Promise<Result | undefined> {
    try {
      return await step()
    } catch (error) {
      this.#waiting.signal?.throwIfAborted()
      if (isFatal(error) || !this.#options.onFailure) throw error
      this.#options.onFailure(names, error)
      return undefined
    }
  }

  async #done(image: ArchivedImage): Promise<void> {
    await this.#options.onImage?.(image)
    this.#images.push(image)
    this.#imagesDone += 1
    this.#report()
  }

  #report(): void {
    const [imagesDone, imageCount, bytes] = [this.#imagesDone, this.#imageCount, this.#bytes]
    this.#options.onProgress?.({ imagesDone, imageCount, bytes })
  }
}

/** Images that share layers lie beside each other, so that they come in one request. */
function batchesOf(images: readonly Wanted[]): Wanted[][] {
  const sorted = images.toSorted((a, b) => (a.diffIds.join() < b.diffIds.join() ? -1 : 1))
  const batches: Wanted[][] = []
  for (let start = 0; start < sorted.length; start += BATCH_IMAGES) {
    batches.push(sorted.slice(start, start + BATCH_IMAGES))
  }
  return batches
}

/** The ID of an engine is the digest of the config (classic store) or of the root (containerd store). */
function hasId({ manifest, blobs }: ArchivedImage, id: Digest): boolean {
  const isConfig = blobs.some(({ digest, role }) => role === 'config' && digest === id)
  return manifest.digest === id || isConfig
}

function isIdOf(name: string, { id, names }: InspectedImage): boolean {
  const isNamed = names.some((known) => known === name || known === `${name}:latest`)
  return !isNamed && (id.startsWith(name) || id.startsWith(`sha256:${name}`))
}

/** What every other image would meet as well. */
function isFatal(error: unknown): boolean {
  if (!isOperationError(error)) return false
  return /^(ENGINE_UNAVAILABLE|ENGINE_PERMISSION|DISK_|OPEN_FILES)/.test(error.code)
}

function countingSink(sink: BlobSink, onBytes: (bytes: number) => void): BlobSink {
  return {
    stat: async (digest) => await sink.stat(digest),
    read: async (digest) => await sink.read(digest),
    open: async (digest) => await sink.open(digest),
    ingest: async (source, options) => await sink.ingest(counting(source, onBytes), options),
  }
}

async function* counting(
  source: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of source) {
    onBytes(chunk.length)
    yield chunk
  }
}
