import type { Socket } from 'node:net'

import type { Digest } from '../oci/digest.ts'
import type { parseDoorName } from '../oci/reference.ts'
import type { ByteRange, ReadOptions } from '../store/blob-store.ts'
import type { ContentDigest, RegistryContent } from './registry-content.ts'

/** Which image a request to the door means: registry, repository and scope. */
export type DoorName = ReturnType<typeof parseDoorName>

/** A manifest as it is served: its exact bytes under its exact type. */
export interface ManifestContent {
  readonly digest: Digest
  /** what the manifest itself says it is; without parameters */
  readonly mediaType: string
  readonly bytes: Uint8Array
  /** what the client's user should know, such as that upstream was not reached: goes out as a Warning header */
  readonly notice?: string
}

/** Who asks. */
export interface DoorClient {
  readonly socket: Socket
  /** the header as it came; nobody may log it or keep it */
  readonly authorization?: string | undefined
}

/** A blob that can be had. */
export interface BlobContent {
  /** bytes */
  readonly size: number
  /**
   * Verified bytes of `range`, in order, as they arrive. The end of the blob is held back until the SHA-256 of
   * the whole has matched. Throws if the bytes cannot be had; ends only after all of them.
   */
  read(range: ByteRange, options: ReadOptions): AsyncIterable<Uint8Array>
}

interface BackendOptions {
  /** fires when the client has gone or the door has waited long enough; ends this request's share alone */
  readonly signal: AbortSignal
  /** the node itself where it is left out */
  readonly client?: DoorClient
}

/** Which repository. */
export interface RepositoryRequest {
  readonly name: DoorName
  /** the client named the upstream by `ns`: it means what is there, whatever was pushed here */
  readonly isMirrored?: true
}

/** Which manifest: by a tag or by a digest. */
export interface ManifestRequest extends RepositoryRequest {
  readonly tag?: string
  readonly digest?: Digest
}

/** An entry of a list of referrers: a descriptor with artifactType and annotations (image-spec, image-index.md). */
export type ReferrerEntry = Readonly<Record<string, unknown>>

/** What stands behind the door: store, swarm and upstream together. */
export interface RegistryBackend {
  /**
   * The manifest of a tag or a digest (exactly one of them is given), or undefined where nobody has it.
   * For a tag, this says what it means.
   */
  manifest(request: ManifestRequest, options: BackendOptions): Promise<ManifestContent | undefined>
  /** Resolves as soon as it is known that the blob can be had, or undefined quickly where it cannot. */
  blob(
    request: RepositoryRequest & { digest: Digest },
    options: BackendOptions,
  ): Promise<BlobContent | undefined>
  /** The tags of a repository in any order, or undefined where it is not known. */
  tags(request: RepositoryRequest, options: BackendOptions): Promise<readonly string[] | undefined>
  /**
   * What refers to a manifest, in any order, which need not be known; or undefined where only an upstream can say
   * and does not: a client then asks its next host, while an empty list would end its search.
   */
  referrers?(
    request: RepositoryRequest & { digest: ContentDigest },
    options: BackendOptions,
  ): Promise<readonly ReferrerEntry[] | undefined>
  /** the push side, where there is one */
  readonly content?: RegistryContent
}
