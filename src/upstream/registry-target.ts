import { OperationError } from '../errors.ts'
import { isRepositoryName } from '../oci/reference.ts'
import { isHostListed } from './address-guard.ts'
import { addressRefused } from './failures.ts'
import type { UpstreamRepository } from './upstream.ts'

/** Where a repository is asked for. */
export interface RegistryTarget {
  /** as names have it */
  readonly registry: string
  readonly repository: string
  /** without a path */
  readonly origin: URL
}

// Docker Hub serves its API under a name of its own
const HOSTS: ReadonlyMap<string, string> = new Map([['docker.io', 'registry-1.docker.io']])

/** @throws OperationError UPSTREAM_ADDRESS_REFUSED, REFERENCE_INVALID */
export function targetOf(
  { registry, repository }: UpstreamRepository,
  insecureHosts: ReadonlySet<string>,
): RegistryTarget {
  if (!isRepositoryName(repository)) {
    throw new OperationError('REFERENCE_INVALID', `"${repository}" is not a repository name`)
  }
  const host = HOSTS.get(registry) ?? registry
  // URL writes 127.1 and 0x7f000001 as 127.0.0.1: what is checked is what is dialled
  const text = `https://${host}`
  if (!/^[^/\\?#@\s]+$/.test(host) || !URL.canParse(text)) {
    throw addressRefused({ host: registry }, 'it is not the name of a host')
  }
  const secure = new URL(text)
  const plain = new URL(`http://${host}`)
  const isPlain = isHostListed(plain, insecureHosts) || insecureHosts.has(registry)
  return { registry, repository, origin: isPlain ? plain : secure }
}
