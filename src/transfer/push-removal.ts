import type { Catalog } from '../catalog/catalog.ts'
import type { Digest } from '../oci/digest.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { PUSHED, type ImageRegister } from './image-register.ts'
import { readDocument, subjectOf } from './pushed-manifest.ts'
import type { ReferrersIndex } from './referrers-index.ts'
import { repositoryKey, type RepositoryName } from './repository-key.ts'
import { readSmallBlob } from './store-sink.ts'

interface PushRemovalOptions {
  readonly store: BlobStore
  readonly catalog: Catalog
  readonly register: ImageRegister
  readonly referrers: ReferrersIndex
}

/**
 * Deletes what was pushed. In its repository it is gone at once; its bytes go with it unless something else needs
 * them: another repository, an image that has it below it, a name, a pin. One call at a time.
 */
export class PushRemoval {
  readonly #options: PushRemovalOptions

  constructor(options: PushRemovalOptions) {
    this.#options = options
  }

  /** @returns false where nothing was pushed under the tag */
  async removeTag(name: RepositoryName, tag: string): Promise<boolean> {
    const { catalog, register } = this.#options
    const repository = repositoryKey(name)
    if (!(await catalog.pushed.tag(repository, tag))) return false
    await catalog.pushed.deleteTag(repository, tag)
    await register.removeName({ ...name, tag })
    return true
  }

  /** Takes its tags along. @returns false where the manifest was not pushed there */
  async removeManifest(name: RepositoryName, digest: Digest): Promise<boolean> {
    const { catalog } = this.#options
    const repository = repositoryKey(name)
    const isImage = (await catalog.image(digest)) !== undefined
    if (!isImage || !(await catalog.pushed.isHeld(repository, digest))) return false
    for (const entry of await Array.fromAsync(catalog.pushed.tags(repository))) {
      if (entry.digest === digest) await this.removeTag(name, entry.tag)
    }
    await catalog.pushed.deleteContent(repository, digest)
    const subject = await this.#subjectOf(digest)
    if (subject !== undefined) await this.#options.referrers.publish(name, subject)
    await this.#dropManifest(digest, subject)
    return true
  }

  /** @returns false where the repository has no such blob */
  async removeBlob(repository: string, digest: Digest): Promise<boolean> {
    const { catalog } = this.#options
    if (!(await this.#hasBlob(repository, digest))) return false
    await catalog.pushed.deleteContent(repository, digest)
    if ((await catalog.image(digest)) === undefined && !(await this.#isNeeded(digest))) {
      await this.#dropBlob(digest)
    }
    return true
  }

  /** A blob that was pushed there, or that is below a manifest that was. */
  async #hasBlob(repository: string, digest: Digest): Promise<boolean> {
    const { pushed } = this.#options.catalog
    if ((await pushed.deletedAtMs(repository, digest)) !== undefined) return false
    if (await pushed.isHeld(repository, digest)) return true
    for (const image of await this.#options.catalog.imagesWithBlob(digest)) {
      if (await pushed.isHeld(repository, image)) return true
    }
    return false
  }

  async #subjectOf(digest: Digest): Promise<string | undefined> {
    const bytes = await readSmallBlob(this.#options.store, digest).catch(() => undefined)
    return bytes && subjectOf(readDocument(bytes))
  }

  async #dropManifest(digest: Digest, subject: string | undefined): Promise<void> {
    const { catalog, register } = this.#options
    const isElsewhere = (await catalog.pushed.repositoriesWith(digest)).length > 0
    if (isElsewhere) return
    await catalog.unpin(digest, PUSHED)
    if ((await this.#isNeeded(digest)) || (await this.#isNamed(digest))) return
    if (subject !== undefined) await catalog.referrers.remove(subject, digest)
    await register.removeImage(digest)
    await this.#dropBlob(digest)
  }

  async #dropBlob(digest: Digest): Promise<void> {
    const { catalog, register, store } = this.#options
    await register.withdrawBlob(digest)
    await store.remove(digest)
    await catalog.removeTorrent(digest)
  }

  async #isNeeded(digest: Digest): Promise<boolean> {
    const { catalog } = this.#options
    if ((await catalog.imagesWithBlob(digest)).length > 0) return true
    if ((await catalog.pushed.repositoriesWith(digest)).length > 0) return true
    for await (const pin of catalog.pins()) if (pin.digest === digest) return true
    return false
  }

  async #isNamed(digest: Digest): Promise<boolean> {
    for await (const record of this.#options.catalog.allReferences()) {
      if (record.digest === digest) return true
    }
    return false
  }
}
