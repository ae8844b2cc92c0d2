import type { Reference } from '../oci/reference.ts'

/** A repository, without a tag or digest. */
export type RepositoryName = Omit<Reference, 'tag' | 'digest'>

/** What a repository is called in the catalog: one that only the swarm has is another than its namesake upstream. */
export function repositoryKey({ scope, registry, repository }: RepositoryName): string {
  return `${scope === 'upstream' ? '' : 'local/'}${registry}/${repository}`
}
