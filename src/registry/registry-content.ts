import type { Digest } from '../oci/digest.ts'
import type { Sha512Digest } from '../oci/sha512-digest.ts'
import type { DoorName } from './registry-backend.ts'

/** A digest that a client may push and pull by. */
export type ContentDigest = Digest | Sha512Digest

/** An upload of a blob, over as many requests as the client likes. Calls of one upload wait for each other. */
export interface BlobUploadSession {
  /** a UUID; the last part of its location */
  readonly id: string
  /** bytes that are here */
  readonly size: number
  /**
   * Adds what `source` brings. Where that fails, what came before stays.
   * @param options.offset where the client says that these bytes belong; wherever the upload is without it
   * @returns false, with nothing read, where `offset` is not where the upload is
   * @throws OperationError UPLOAD_UNKNOWN, BLOB_SIZE_MISMATCH, DISK_FULL …; then the upload is over
   */
  append(
    source: AsyncIterable<Uint8Array>,
    options: { offset?: number; signal: AbortSignal },
  ): Promise<boolean>
  /**
   * Adds the last bytes, if there are any, and keeps the blob. Durable, and to be had by peers, when this returns.
   * Where the last bytes do not come, the upload is over, unless they have an offset.
   * @returns false as {@link append}
   * @throws OperationError BLOB_DIGEST_MISMATCH and those of {@link append}: the upload is over
   */
  finish(options: {
    digest: ContentDigest
    source: AsyncIterable<Uint8Array>
    offset?: number
    signal: AbortSignal
  }): Promise<boolean>
  /** Ends it; nothing stays. */
  cancel(): Promise<void>
}

/** A manifest that was pushed. */
export interface PushedManifest {
  readonly digest: Digest
  /** the digest of the manifest it refers to, of any algorithm */
  readonly subject?: string
}

/** The push side of what stands behind the door (distribution-spec, Push, Content Management). */
export interface RegistryContent {
  /** the largest blob that is taken, bytes */
  readonly maxBlobBytes: number
  /** Why nothing can be pushed to, or deleted in, a repository; undefined where it can. */
  refusalOf(name: DoorName): string | undefined
  /** What a digest of another algorithm means here. */
  digestOf(alias: Sha512Digest): Promise<Digest | undefined>
  /** @throws OperationError UPLOADS_EXHAUSTED, DISK_FULL, DISK_READ_ONLY */
  beginUpload(request: { name: DoorName }): Promise<BlobUploadSession>
  upload(request: { name: DoorName; id: string }): BlobUploadSession | undefined
  /** Gives a repository a blob that is here already. @returns false where it is not, or not for this client */
  mount(request: { name: DoorName; digest: ContentDigest; from?: DoorName }): Promise<boolean>
  /**
   * Keeps a manifest byte for byte. Durable, announced and under its tags when this returns.
   * @param request.mediaType what the client says it is
   * @throws OperationError MANIFEST_INVALID, BLOB_DIGEST_MISMATCH, BLOB_UNKNOWN for one that it refers to, DISK_FULL …
   */
  putManifest(
    request: {
      name: DoorName
      bytes: Uint8Array
      tags: readonly string[]
      digest?: ContentDigest
      mediaType?: string
    },
    options: { signal: AbortSignal },
  ): Promise<PushedManifest>
  /** Deletes a tag, or a manifest with all its tags, in one repository. @returns false where it is not there */
  deleteManifest(request: {
    name: DoorName
    tag?: string
    digest?: ContentDigest
  }): Promise<boolean>
  /** Deletes a blob in one repository. @returns false where it is not there */
  deleteBlob(request: { name: DoorName; digest: ContentDigest }): Promise<boolean>
}
