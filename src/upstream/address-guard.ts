import { lookup as dnsLookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import { callbackify } from 'node:util'

import { classifyAddress, type AddressClass } from './address-class.ts'
import { ExpiringMap } from './expiring-map.ts'
import { addressRefused } from './failures.ts'

/** `public`: only addresses of the Internet may be reached, as a public registry sent us there. */
export type Reach = 'any' | 'public'

/** All addresses of a name. */
export type Lookup = (hostName: string) => Promise<readonly { address: string; family: number }[]>

export interface AddressGuardOptions {
  /** lower-case `host` or `host:port`: what the node's owner named may be anywhere */
  readonly namedHosts: Iterable<string>
  readonly lookup?: Lookup | undefined
  /** tests: where a checked address is really dialled */
  readonly dial?: ((address: string) => string) | undefined
}

const METADATA_NAMES: ReadonlySet<string> = new Set([
  'metadata',
  'metadata.google.internal',
  'metadata.goog',
  'instance-data',
  'instance-data.ec2.internal',
])
const MAX_HOSTS = 4096

/**
 * Keeps requests that strangers caused (a name, a realm, a redirect) from what trusts its neighbours. A name is
 * resolved once: the addresses that were checked are the ones that are dialled.
 */
export class AddressGuard {
  readonly #namedHosts: ReadonlySet<string>
  readonly #lookup: Lookup
  readonly #dial: (address: string) => string
  readonly #classes = new ExpiringMap<AddressClass>({
    maxEntries: MAX_HOSTS,
    nowMs: () => performance.now(),
  })

  constructor({
    namedHosts,
    lookup = lookupAll,
    dial = (address) => address,
  }: AddressGuardOptions) {
    this.#namedHosts = new Set([...namedHosts].map((host) => host.toLowerCase()))
    this.#lookup = lookup
    this.#dial = dial
  }

  /** Whether the owner of this node named the host; without a port it is the standard one. */
  isNamed(url: URL): boolean {
    return isHostListed(url, this.#namedHosts)
  }

  /**
   * Refuses what can be refused before a connection: metadata names and literal addresses.
   * @throws OperationError UPSTREAM_ADDRESS_REFUSED
   */
  check(url: URL, reach: Reach): void {
    const name = bareHostName(url)
    if (isIP(name) !== 0) {
      this.#admit(url, [name], reach)
    } else if (METADATA_NAMES.has(name) && !this.isNamed(url)) {
      throw addressRefused(url, 'it has the name of a metadata service')
    }
  }

  /** How an agent resolves the host of `origin`: to checked addresses only. */
  lookupFor(origin: URL, reach: Reach): LookupFunction {
    const resolve = callbackify(async (hostName: string) => {
      const found = await this.#lookup(hostName)
      const addresses = found.map(({ address }) => address)
      return this.#admit(origin, addresses, reach).map((address) => {
        const dialled = this.#dial(address)
        return { address: dialled, family: isIP(dialled) }
      })
    })
    return (hostName, options, callback) => {
      resolve(hostName, (error, addresses) => {
        const [first] = addresses ?? []
        if (error) callback(error, '')
        else if (options.all === true) callback(null, addresses)
        else callback(null, first?.address ?? '', first?.family)
      })
    }
  }

  /** How far requests may go that an answer of `url` leads to. */
  reachFrom(url: URL): Reach {
    const known = this.#classes.get(url.origin)
    return known === undefined || known === 'public' ? 'public' : 'any'
  }

  /** The addresses that may be dialled. */
  #admit(url: URL, addresses: readonly string[], reach: Reach): readonly string[] {
    const classes = addresses.map((address) => classifyAddress(address))
    const isNamed = this.isNamed(url)
    const admitted = addresses.filter((_, index) => isNamed || isAdmitted(classes[index], reach))
    if (admitted.length === 0) {
      const found = classes.includes('local')
        ? 'its address is of this host, its link, a group or a metadata service'
        : 'its address is private, and a public registry led there'
      throw addressRefused(url, addresses.length === 0 ? 'its name has no address' : found)
    }
    this.#classes.set(url.origin, widest(classes), Infinity)
    return admitted
  }
}

/** Whether the host of `url` is in a list of lower-case `host` (standard port) and `host:port`. */
export function isHostListed(url: URL, hosts: ReadonlySet<string>): boolean {
  if (hosts.has(url.host)) return true
  return hosts.has(`${url.hostname}:${url.port || (url.protocol === 'https:' ? 443 : 80)}`)
}

/** Without the brackets of IPv6 and the dot at the end of a full name. */
export function bareHostName({ hostname }: Pick<URL, 'hostname'>): string {
  return hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')
}

function isAdmitted(addressClass: AddressClass | undefined, reach: Reach): boolean {
  return addressClass === 'public' || (addressClass === 'private' && reach === 'any')
}

function widest(classes: readonly AddressClass[]): AddressClass {
  if (classes.includes('public')) return 'public'
  return classes.includes('private') ? 'private' : 'local'
}

async function lookupAll(hostName: string): Promise<{ address: string; family: number }[]> {
  return await dnsLookup(hostName, { all: true })
}
