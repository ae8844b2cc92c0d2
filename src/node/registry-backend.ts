import { OperationError } from '../errors.ts'
import type {
  BlobContent,
  DoorName,
  ManifestContent,
  RegistryBackend,
} from '../registry/registry-backend.ts'
import type { BlobFetcher } from '../transfer/blob-fetcher.ts'
import type { ImageResolver } from '../transfer/image-resolver.ts'

/** What stands behind the door: the store and the swarm; upstream will join them here. */
export function swarmBackend({
  resolver,
  fetcher,
}: {
  resolver: ImageResolver
  fetcher: BlobFetcher
}): RegistryBackend {
  return {
    async manifest({ name, tag, digest }, { signal }): Promise<ManifestContent | undefined> {
      const reference = { ...name, ...(tag !== undefined && { tag }), ...(digest && { digest }) }
      try {
        return await resolver.find(reference, { signal })
      } catch (error) {
        // A blob that is asked for as a manifest: nobody has a manifest of that digest.
        if (error instanceof OperationError && error.code === 'MANIFEST_INVALID') return undefined
        throw error
      }
    },
    blob: ({ digest }, { signal }): Promise<BlobContent | undefined> =>
      fetcher.open(digest, { signal }),
    tags: async ({ name }: { name: DoorName }) => {
      const tags = await resolver.tags(name)
      return tags.length > 0 ? tags : undefined
    },
  }
}
