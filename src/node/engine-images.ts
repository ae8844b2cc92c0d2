import type { Catalog } from '../catalog/catalog.ts'
import type { ImageRecord } from '../catalog/image-records.ts'
import { DockerDaemon, type EngineDescription, type EngineImage } from '../docker/docker-daemon.ts'
import { exportImages } from '../docker/image-export.ts'
import { writeImageArchive } from '../docker/image-archive-writer.ts'
import { isOperationError, messageOf, OperationError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { familiarName, formatReference, type Reference } from '../oci/reference.ts'
import type { BlobStore } from '../store/blob-store.ts'
import type { Log } from '../telemetry/log.ts'
import { referencesOf, type ImageRegister } from '../transfer/image-register.ts'
import type { HeldImage, ImageSeeder, SeededImage } from '../transfer/image-seeder.ts'
import { StoreSink } from '../transfer/store-sink.ts'

interface EngineImagesOptions {
  /** as `--docker-host`: a URL, `auto` or `none` */
  readonly dockerHost: string
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly register: ImageRegister
  readonly seeder: ImageSeeder
  /** this node's own registry addresses */
  readonly doors: () => readonly string[]
  readonly log: Log
}

/** An image that was seeded, or that could not be. */
export interface SeedOutcome {
  readonly images: readonly (SeededImage & { newBytes: number })[]
  readonly failed: readonly { reference: string; error: ReturnType<OperationError['toJSON']> }[]
}

interface MutableOutcome {
  readonly images: SeedOutcome['images'][number][]
  readonly failed: SeedOutcome['failed'][number][]
}

type ReportImage = (event: {
  type: 'image'
  reference: string
  state: 'resolving' | 'moving' | 'done' | 'failed'
  message?: string
}) => void

/** The images of the engine on this host: shared with the swarm, and loaded from it. */
export class EngineImages {
  readonly #options: EngineImagesOptions
  #daemon: DockerDaemon | undefined

  constructor(options: EngineImagesOptions) {
    this.#options = options
  }

  /** What the engine says of itself, or undefined where none answers. */
  async describe(): Promise<(EngineDescription & { host: string }) | undefined> {
    if (this.#options.dockerHost === 'none') return undefined
    try {
      const daemon = await this.#connect()
      return { ...(await daemon.describe()), host: daemon.host }
    } catch {
      return undefined
    }
  }

  /** Whether this node is to have an engine: one that was named counts even while it is away. */
  async hasEngine(): Promise<boolean> {
    const { dockerHost } = this.#options
    return dockerHost !== 'none' && (dockerHost !== 'auto' || (await this.describe()) !== undefined)
  }

  /** Shares named images of the engine. @throws OperationError ENGINE_UNAVAILABLE, ENGINE_PERMISSION */
  async seed(
    references: readonly Reference[],
    { signal, report }: { signal: AbortSignal; report: ReportImage },
  ): Promise<SeedOutcome> {
    const daemon = await this.#connect(signal)
    const held = await daemon.listImages({ signal })
    const found: EngineImage[] = []
    const failed: SeedOutcome['failed'][number][] = []
    for (const reference of references) {
      const image = held.find((candidate) => this.#isNamed(candidate, reference))
      if (image) {
        found.push(image)
        continue
      }
      const name = formatReference(reference)
      failed.push({
        reference: name,
        error: new OperationError(
          'IMAGE_UNKNOWN',
          `image "${name}": the engine does not hold it`,
        ).toJSON(),
      })
    }
    const outcome = await this.#share(daemon, found, { signal, report })
    return { images: outcome.images, failed: [...failed, ...outcome.failed] }
  }

  /** Shares every image of the engine that has a name. @throws as {@link seed} */
  async seedAll(options: { signal: AbortSignal; report: ReportImage }): Promise<SeedOutcome> {
    const daemon = await this.#connect(options.signal)
    const held = await daemon.listImages({ signal: options.signal })
    return this.#share(
      daemon,
      held.filter(({ names }) => names.length > 0),
      options,
    )
  }

  /** Goes on with what the engine gets, until `signal` fires; what it removes is no longer said to be there. */
  async watch(options: { signal: AbortSignal; report: ReportImage }): Promise<void> {
    const daemon = await this.#connect(options.signal)
    for await (const event of daemon.events({ signal: options.signal })) {
      try {
        if (event.action === 'untag' || event.action === 'delete' || event.action === 'resync') {
          await this.#withdrawRemoved(daemon)
        }
        if (event.action !== 'untag' && event.action !== 'delete') await this.seedAll(options)
      } catch (error) {
        options.signal.throwIfAborted()
        this.#options.log.warn({ error: messageOf(error) }, 'the engine could not be followed')
      }
    }
  }

  /** Puts an image whose blobs are here into the engine. @returns what the engine calls it */
  async load(root: Descriptor, reference: Reference, signal: AbortSignal): Promise<string> {
    const daemon = await this.#connect(signal)
    const { registry, repository, tag } = reference
    const name = familiarName({ registry, repository, tag: tag ?? 'latest', scope: 'upstream' })
    const sink = new StoreSink(this.#options)
    await daemon.loadImages(writeImageArchive([{ manifest: root, names: [name] }], sink), {
      signal,
    })
    return name
  }

  async #share(
    daemon: DockerDaemon,
    wanted: readonly EngineImage[],
    { signal, report }: { signal: AbortSignal; report: ReportImage },
  ): Promise<SeedOutcome> {
    const outcome: MutableOutcome = { images: [], failed: [] }
    const missing: EngineImage[] = []
    for (const image of wanted) {
      const held = await this.#heldAlready(image)
      if (held) outcome.images.push(...(await this.#note(held, { newBytes: 0, report })))
      else missing.push(image)
    }
    await this.#export(daemon, missing, { signal, report, outcome })
    return outcome
  }

  /** All missing images in one request, so that a layer they share is exported once; one that fails stops none. */
  async #export(
    daemon: DockerDaemon,
    missing: readonly EngineImage[],
    options: { signal: AbortSignal; report: ReportImage; outcome: MutableOutcome },
  ): Promise<void> {
    const { signal, report, outcome } = options
    if (missing.length === 0) return
    const names = missing.flatMap((image) => image.names)
    for (const reference of names) report({ type: 'image', reference, state: 'moving' })
    const sink = new StoreSink(this.#options)
    const onFailure = (failed: readonly string[], error: unknown) => {
      const failure = isOperationError(error)
        ? error
        : new OperationError('ENGINE_FAILED', messageOf(error), { cause: error })
      for (const reference of failed) {
        report({ type: 'image', reference, state: 'failed', message: failure.message })
        outcome.failed.push({ reference, error: failure.toJSON() })
      }
    }
    const { log } = this.#options
    let countedBytes = 0
    const onImage = async (image: HeldImage) => {
      const newBytes = sink.newBytes - countedBytes
      countedBytes = sink.newBytes
      outcome.images.push(...(await this.#note(image, { newBytes, report })))
    }
    await exportImages({ daemon, names, sink, signal, onImage, onFailure, log })
  }

  async #note(
    image: HeldImage,
    { newBytes, report }: { newBytes: number; report: ReportImage },
  ): Promise<SeedOutcome['images'][number][]> {
    const seeded = await this.#options.seeder.seed(image)
    for (const { reference } of seeded) report({ type: 'image', reference, state: 'done' })
    return seeded.map((entry, index) => ({ ...entry, newBytes: index === 0 ? newBytes : 0 }))
  }

  /** An image of the engine whose manifest and blobs are in the store: nothing needs to be exported. */
  async #heldAlready(image: EngineImage): Promise<HeldImage | undefined> {
    const { catalog } = this.#options
    const candidates = [image.id, ...(await catalog.imagesWithBlob(image.id))]
    for (const digest of candidates) {
      const record = await catalog.image(digest)
      if (!record || !(await this.#isWhole(record)) || !isOf(record, image)) continue
      return { manifest: record, names: image.names, blobs: record.blobs }
    }
    return undefined
  }

  async #isWhole(record: ImageRecord): Promise<boolean> {
    const { store } = this.#options
    for (const { digest } of [record, ...record.blobs]) if (!(await store.has(digest))) return false
    return true
  }

  /** Names that this node signed and that the engine no longer has, of images that came from the engine. */
  async #withdrawRemoved(daemon: DockerDaemon): Promise<void> {
    const { register, doors } = this.#options
    const names = (await daemon.listImages()).flatMap((image) => image.names)
    await register.keepNames(referencesOf(names, doors()))
  }

  #isNamed(image: EngineImage, wanted: Reference): boolean {
    const name = familiarName({ ...wanted, scope: 'upstream' })
    return image.names.some((candidate) => {
      const [reference] = referencesOf([candidate], this.#options.doors())
      return reference !== undefined && familiarName(reference) === name
    })
  }

  async #connect(signal?: AbortSignal): Promise<DockerDaemon> {
    if (this.#daemon) return this.#daemon
    const { dockerHost } = this.#options
    if (dockerHost === 'none') {
      throw new OperationError(
        'ENGINE_UNAVAILABLE',
        'engine: this node was started with --docker-host none',
      )
    }
    this.#daemon = await DockerDaemon.connect({
      ...(dockerHost !== 'auto' && { host: dockerHost }),
      ...(signal && { signal }),
    })
    return this.#daemon
  }
}

/** Whether a manifest in the catalog is what the engine means: by its own digest, or by its config's. */
function isOf(record: ImageRecord, image: EngineImage): boolean {
  return (
    record.digest === image.id ||
    record.blobs.some(({ digest, role }) => role === 'config' && digest === image.id)
  )
}
