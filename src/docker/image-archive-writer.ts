/**
 * Images for an engine: an OCI image layout with `manifest.json` beside it, which `docker load` and
 * `podman load` take. An engine with a containerd store reads index.json and keeps the manifest's digest;
 * the classic store reads manifest.json and keeps the image ID.
 */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { pack, type Pack } from 'tar-stream'

import { OperationError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { canonicalName, familiarName, parseReference } from '../oci/reference.ts'
import { blobPath } from './archive-path.ts'
import type { BlobSink } from './blob-sink.ts'
import { listHeldImage, type HeldImage } from './held-image.ts'

/** An image to write, and the names under which the engine shall know it; `name:tag`. */
export interface ImageToWrite {
  readonly manifest: Descriptor
  readonly names: readonly string[]
}

/**
 * Writes images as one tar: the same images give the same bytes, and each blob comes once. Nothing is read
 * before the reader asks. Platforms of an image index that the sink lacks are left out.
 * The stream fails with OperationError BLOB_UNKNOWN (a blob is not held), BLOB_SIZE_MISMATCH,
 * MANIFEST_INVALID, REFERENCE_INVALID.
 */
export function writeImageArchive(images: readonly ImageToWrite[], sink: BlobSink): Readable {
  return Readable.from(archiveBytes(images, sink), { objectMode: false })
}

async function* archiveBytes(
  images: readonly ImageToWrite[],
  sink: BlobSink,
): AsyncGenerator<Uint8Array, void> {
  const tar = pack()
  let failure: { readonly error: unknown } | undefined
  const filling = fill(tar, images, sink).catch((error: unknown) => {
    failure = { error }
    tar.destroy()
  })
  try {
    for await (const chunk of tar) yield chunk as Uint8Array
    await filling
  } catch (error) {
    tar.destroy()
    await filling
    // The tar only knows that it was destroyed; why, is what the reader wants to hear.
    throw failure ? failure.error : error
  } finally {
    tar.destroy()
    await filling
  }
  if (failure) throw failure.error
}

async function fill(tar: Pack, images: readonly ImageToWrite[], sink: BlobSink): Promise<void> {
  const blobs = new Map<Digest, number>()
  const written: { image: ImageToWrite; held: HeldImage }[] = []
  for (const image of images) {
    const held = await listHeldImage(image.manifest, sink)
    for (const { digest, size } of held.blobs) blobs.set(digest, size)
    written.push({ image, held })
  }
  // The tables come first, so that readers who look for them need not read the whole tar.
  addText(tar, 'oci-layout', { imageLayoutVersion: '1.0.0' })
  addText(tar, 'index.json', makeIndex(written.map(({ image }) => image)))
  addText(tar, 'manifest.json', written.map(makeTableEntry))
  for (const folder of ['blobs/', 'blobs/sha256/']) {
    tar.entry({ ...ENTRY, name: folder, type: 'directory', mode: 0o755 })
  }
  for (const [digest, size] of [...blobs].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    await addBlob(tar, { digest, size }, sink)
  }
  tar.finalize()
}

const ENTRY = { mode: 0o444, mtime: new Date(0), uid: 0, gid: 0 }

function addText(tar: Pack, name: string, value: unknown): void {
  tar.entry({ ...ENTRY, name }, JSON.stringify(value))
}

async function addBlob(
  tar: Pack,
  { digest, size }: { digest: Digest; size: number },
  sink: BlobSink,
): Promise<void> {
  const held = await sink.stat(digest)
  if (held?.size !== size) {
    const found = held ? `${held.size} bytes` : 'none'
    throw new OperationError(
      held ? 'BLOB_SIZE_MISMATCH' : 'BLOB_UNKNOWN',
      `blob ${digest}: wanted ${size} bytes, found ${found}`,
    )
  }
  const entry = tar.entry({ ...ENTRY, name: blobPath(digest), size })
  await pipeline(await sink.open(digest), entry)
}

function makeIndex(images: readonly ImageToWrite[]): unknown {
  return {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: images.flatMap(({ manifest: { mediaType, digest, size }, names }) => {
      const descriptor = { mediaType, digest, size }
      const named = tagged(names).map((name) => ({ ...descriptor, annotations: annotate(name) }))
      return named.length > 0 ? named : [descriptor]
    }),
  }
}

function annotate(name: string): Record<string, string> {
  const reference = parseReference(name)
  return {
    'io.containerd.image.name': canonicalName(reference),
    'org.opencontainers.image.ref.name': reference.tag ?? '',
  }
}

function makeTableEntry({ image, held }: { image: ImageToWrite; held: HeldImage }): unknown {
  return {
    Config: blobPath(held.runnable.config.digest),
    RepoTags: tagged(image.names).map((name) => familiarName(parseReference(name))),
    Layers: held.runnable.layers.map(({ digest }) => blobPath(digest)),
  }
}

/** Engines take names with tags only; a name by digest is what the image already has. */
function tagged(names: readonly string[]): string[] {
  return names.filter((name) => parseReference(name).tag !== undefined)
}
