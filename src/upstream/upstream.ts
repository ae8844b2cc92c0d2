import type { Digest } from '../oci/digest.ts'

/** A repository as its registry calls it: `library/` is written out for docker.io. */
export interface UpstreamRepository {
  /** host, with a port where it has one; `docker.io` for Docker Hub */
  readonly registry: string
  readonly repository: string
}

/**
 * Whose right a request may lean on. Every request is tried without a credential first, so that what anybody may
 * read is known to be public:
 * `anonymous` leaves it at that, `node` goes on with what this node's Docker configuration holds for the registry,
 * `client` with the Authorization header that a client sent for this very registry.
 */
export type UpstreamIdentity =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'node' }
  | { readonly kind: 'client'; readonly authorization: string }

/** `public`: anybody may read it; `private`: the registry wanted a credential. */
export type UpstreamAccess = 'public' | 'private'

/** What a registry says that a tag means. */
export interface UpstreamDescriptor {
  readonly digest: Digest
  readonly mediaType: string
  /** bytes */
  readonly size: number
  readonly access: UpstreamAccess
}

/** A manifest whose bytes have the digest. */
export interface UpstreamManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
  readonly access: UpstreamAccess
}

/** A blob that is on its way. */
export interface UpstreamBlob {
  /** of the whole blob, bytes */
  readonly size: number
  readonly access: UpstreamAccess
  /**
   * The bytes from `start` to the end, exactly as many as the size promises; resumed by Range where the body
   * breaks. Its digest is for the reader to prove. Ends the connection when it is left early. To be read once;
   * who does not read it at all fires the signal, or the connection stays.
   * @throws OperationError UPSTREAM_UNREACHABLE, UPSTREAM_FAULTY
   */
  readonly content: AsyncIterable<Buffer>
}

/** What every question to a registry comes with. */
export interface AskOptions {
  readonly identity: UpstreamIdentity
  readonly signal: AbortSignal
}

/**
 * Registries, asked by the pull side of the OCI Distribution API (distribution-spec). `undefined` is a plain 404.
 * @throws OperationError UPSTREAM_DENIED (401 and 403), UPSTREAM_UNREACHABLE (no answer, 5xx, 429, TLS),
 * UPSTREAM_FAULTY (an answer that contradicts itself or the digest), UPSTREAM_ADDRESS_REFUSED (an address of this
 * host, a link-local or metadata address that was not configured)
 */
export interface Upstream extends AsyncDisposable {
  /** Whether this node may have a login for a registry; nobody is asked, a credential helper may know of none. */
  mayLogIn(registry: string): Promise<boolean>
  /** What a tag means: a HEAD, which registries do not count as a pull. */
  resolve(
    repository: UpstreamRepository,
    tag: string,
    options: AskOptions,
  ): Promise<UpstreamDescriptor | undefined>
  manifest(
    repository: UpstreamRepository,
    digest: Digest,
    options: AskOptions,
  ): Promise<UpstreamManifest | undefined>
  /** Whether the repository has a manifest or a blob of this digest: a HEAD. */
  has(
    repository: UpstreamRepository,
    content: { readonly kind: 'manifest' | 'blob'; readonly digest: Digest },
    options: AskOptions,
  ): Promise<UpstreamAccess | undefined>
  /** @param content.size as a manifest says it; a registry that says otherwise is UPSTREAM_FAULTY */
  blob(
    repository: UpstreamRepository,
    content: { readonly digest: Digest; readonly size?: number; readonly start?: number },
    options: AskOptions,
  ): Promise<UpstreamBlob | undefined>
  /** All tags, page after page, at most 100,000. */
  tags(
    repository: UpstreamRepository,
    options: AskOptions,
  ): Promise<{ tags: string[]; access: UpstreamAccess } | undefined>
  /** The index of what refers to a manifest, as the registry wrote it (distribution-spec, Listing Referrers). */
  referrers(
    repository: UpstreamRepository,
    digest: Digest,
    options: AskOptions & { readonly artifactType?: string },
  ): Promise<{ bytes: Buffer; isFiltered: boolean; access: UpstreamAccess } | undefined>
}
