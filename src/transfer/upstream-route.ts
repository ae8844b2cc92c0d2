import type { UpstreamIdentity, UpstreamRepository } from '../upstream/upstream.ts'

/** Where upstream has a blob, and by whose right it is asked for there. */
export interface UpstreamRoute {
  readonly repository: UpstreamRepository
  readonly identity: UpstreamIdentity
  readonly kind: 'manifest' | 'blob'
  /** position among the layers of its image: the lowest that is not complete goes first */
  readonly order?: number
}

/** Whether two routes are one question to one registry. */
export function isSameRoute(a: UpstreamRoute, b: UpstreamRoute): boolean {
  return (
    a.kind === b.kind &&
    a.repository.registry === b.repository.registry &&
    a.repository.repository === b.repository.repository &&
    a.identity.kind === b.identity.kind &&
    authorizationOf(a) === authorizationOf(b)
  )
}

function authorizationOf({ identity }: UpstreamRoute): string | undefined {
  return identity.kind === 'client' ? identity.authorization : undefined
}
