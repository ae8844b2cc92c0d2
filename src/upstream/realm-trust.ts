import { isIP } from 'node:net'

import { getDomain } from 'tldts'

import { bareHostName, isHostListed } from './address-guard.ts'

interface TrustOptions {
  /** asked over plain HTTP, as the node's owner says */
  readonly insecureHosts: ReadonlySet<string>
  /** named by the node's owner: the insecure ones and the local ones */
  readonly namedHosts: ReadonlySet<string>
}

/**
 * Whether a registry's credential may go to the token service that it names: to the registry itself, or by https to
 * the same host or registrable domain. An address without a name, or this host, must have been named by the owner.
 */
export function mayReceiveCredential(
  realm: URL,
  registry: URL,
  { insecureHosts, namedHosts }: TrustOptions,
): boolean {
  if (realm.origin === registry.origin) return true
  if (realm.protocol !== 'https:' && !isHostListed(realm, insecureHosts)) return false
  if (isNameless(realm) || isNameless(registry)) {
    return isHostListed(realm, namedHosts) && isHostListed(registry, namedHosts)
  }
  return realm.hostname === registry.hostname || isSameDomain(realm, registry)
}

function isNameless(url: URL): boolean {
  const name = bareHostName(url)
  return isIP(name) !== 0 || name === 'localhost' || name.endsWith('.localhost')
}

/** Customers of a hoster (`*.github.io`) are not one domain: the private part of the suffix list counts. */
function isSameDomain(one: URL, other: URL): boolean {
  const domain = getDomain(one.hostname, { allowPrivateDomains: true })
  return domain !== null && domain === getDomain(other.hostname, { allowPrivateDomains: true })
}
