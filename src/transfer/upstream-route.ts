import type { UpstreamIdentity, UpstreamRepository } from '../upstream/upstream.ts'

/** Where upstream has a blob, and by whose right it is asked for there. */
export interface UpstreamRoute {
  readonly repository: UpstreamRepository
  readonly identity: UpstreamIdentity
  readonly kind: 'manifest' | 'blob'
  /** position among the layers of its image: the lowest that is not complete goes first */
  readonly order?: number
}
