import type { Catalog } from '../catalog/catalog.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import type { ContentAccess } from './content-access.ts'
import { referencesOf, type ImageRegister } from './image-register.ts'

/** An image whose blobs are all in the store: what an archive or an engine brought. */
export interface HeldImage {
  readonly manifest: Descriptor
  /** as the archive or engine writes them */
  readonly names: readonly string[]
  readonly blobs: readonly {
    readonly digest: Digest
    readonly size: number
    readonly mediaType: string
    readonly role: 'manifest' | 'config' | 'layer'
  }[]
}

/** One name of a seeded image. */
export interface SeededImage {
  readonly reference: string
  readonly digest: Digest
  /** of all its blobs, bytes */
  readonly size: number
  readonly blobs: number
}

interface ImageSeederOptions {
  readonly catalog: Catalog
  readonly register: ImageRegister
  readonly access: Pick<ContentAccess, 'onShared'>
  /** this node's own registry addresses, which engines put before names */
  readonly doors: () => readonly string[]
}

/** Shares images whose blobs are in the store: notes them, signs their names, announces. */
export class ImageSeeder {
  readonly #options: ImageSeederOptions

  constructor(options: ImageSeederOptions) {
    this.#options = options
  }

  /** @param name instead of the names that the image brings along */
  async seed(image: HeldImage, name?: Reference): Promise<SeededImage[]> {
    const { register, catalog, access, doors } = this.#options
    const { manifest } = image
    const blobs = image.blobs.filter(({ digest }) => digest !== manifest.digest)
    // Who seeds or imports an image shares it on purpose, whatever a registry said before.
    for (const { digest } of [manifest, ...image.blobs]) await access.onShared(digest)
    await register.addImage({
      digest: manifest.digest,
      mediaType: manifest.mediaType,
      size: manifest.size,
      blobs,
      addedAtMs: (await catalog.image(manifest.digest))?.addedAtMs ?? Date.now(),
    })
    const names = name ? [name] : referencesOf(image.names, doors())
    for (const reference of names) await register.addName(reference, manifest)
    const labels = names.length > 0 ? names.map(formatReference) : [manifest.digest]
    const size = manifest.size + blobs.reduce((sum, blob) => sum + blob.size, 0)
    return labels.map((reference) => ({
      reference,
      digest: manifest.digest,
      size,
      blobs: blobs.length + 1,
    }))
  }
}
