import { OperationError } from '../errors.ts'
import { parseDigest, type Digest } from './digest.ts'

/**
 * What a person types for an image: `[registry/]name[:tag][@digest]` (distribution-spec, Pulling manifests).
 * Two registries are ours: `local` (as the swarm's nodes hold it) and `node/<node name>` (as that node holds it).
 */
export interface Reference {
  /** host of the upstream; docker.io where none is written */
  readonly registry: string
  /** repository name below the host, `library/` included for docker.io */
  readonly repository: string
  readonly tag?: string
  readonly digest?: Digest
  /** `local/…` and `node/…` are answered by the swarm alone */
  readonly scope: 'upstream' | 'local' | 'node'
  /** with scope `node`: whose */
  readonly nodeName?: string
}

// distribution-spec, Pulling manifests: <name> and <reference>
const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
const HOST =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/
const MAX_NAME_LENGTH = 255
// local/, node/<name>/, a name, a tag and a digest; what is longer would take long to read, and is refused anyway
const MAX_TEXT_LENGTH = 1024
const DEFAULT_REGISTRY = 'docker.io'

/** Whether `name` is a repository name by the spec's grammar. */
export function isRepositoryName(name: string): boolean {
  return name.length <= MAX_NAME_LENGTH && NAME.test(name)
}

/** Whether `tag` is a tag by the spec's grammar. */
export function isTag(tag: string): boolean {
  return TAG.test(tag)
}

/**
 * Reads a reference; a tag of `latest` is added where neither tag nor digest is written.
 * `127.0.0.1:5151/local/app:1` is what an engine calls an image that it pulled through a node: the node's own
 * address is taken off, and so is any loopback one in front of local/ and node/.
 * @param doors registry addresses of this node, such as `127.0.0.1:5151`
 * @throws OperationError REFERENCE_INVALID, DIGEST_INVALID
 */
export function parseReference(
  text: string,
  { doors = [] }: { doors?: readonly string[] } = {},
): Reference {
  if (text.length > MAX_TEXT_LENGTH) throw invalid(text, `it has ${text.length} characters`)
  const at = text.indexOf('@')
  const named = at < 0 ? text : text.slice(0, at)
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1))
  const colon = named.lastIndexOf(':')
  const hasTag = colon > named.lastIndexOf('/')
  const tag = hasTag ? named.slice(colon + 1) : digest ? undefined : 'latest'
  if (tag !== undefined && !isTag(tag)) throw invalid(text, `the tag "${tag}" is not one`)
  const name = withoutDoor(hasTag ? named.slice(0, colon) : named, doors)
  return { ...parseName(name, text), ...(tag !== undefined && { tag }), ...(digest && { digest }) }
}

/**
 * Reads the name of a request to the registry door, by design: `ns` names the upstream; else the first
 * component if it looks like a host (`reg__5000` for a port); `local/…`, `node/<name>/…`; else docker.io.
 * @throws OperationError REFERENCE_INVALID
 */
export function parseDoorName(name: string, ns?: string): Omit<Reference, 'tag' | 'digest'> {
  if (!isRepositoryName(name)) throw invalid(name, 'it is not a repository name')
  if (ns === undefined) return parseName(withPort(name), name)
  if (!HOST.test(ns)) throw invalid(ns, 'ns is not a host')
  return { registry: normaliseHost(ns), repository: officialName(ns, name), scope: 'upstream' }
}

function parseName(name: string, text: string): Omit<Reference, 'tag' | 'digest'> {
  const [first = '', ...rest] = name.split('/')
  const below = rest.join('/')
  if (first === 'local' && rest.length > 0) {
    return { ...parseName(below, text), scope: 'local' }
  }
  if (first === 'node' && rest.length > 1) {
    const [nodeName = '', ...image] = rest
    return { ...parseName(image.join('/'), text), scope: 'node', nodeName }
  }
  const isHost = rest.length > 0 && looksLikeHost(first)
  const registry = isHost ? normaliseHost(first) : DEFAULT_REGISTRY
  const repository = officialName(registry, isHost ? below : name)
  if (!isRepositoryName(repository) || registry.length + 1 + repository.length > MAX_NAME_LENGTH) {
    throw invalid(text, `"${isHost ? below : name}" is not a repository name`)
  }
  return { registry, repository, scope: 'upstream' }
}

/** The name as records and catalog keep it: registry, repository and tag or digest, without local/ and node/. */
export function canonicalName(reference: Reference): string {
  return `${reference.registry}/${reference.repository}${suffixOf(reference)}`
}

/** The name as people read it: docker.io and library/ left out, local/ and node/ kept. */
export function formatReference(reference: Reference): string {
  const scope =
    reference.scope === 'local'
      ? 'local/'
      : reference.scope === 'node'
        ? `node/${reference.nodeName ?? ''}/`
        : ''
  return `${scope}${familiarName(reference)}`
}

/** The name as an engine shows it, without local/ and node/. */
export function familiarName(reference: Reference): string {
  const { registry, repository } = reference
  const name =
    registry === DEFAULT_REGISTRY
      ? repository.replace(/^library\/(?=[^/]+$)/, '')
      : `${registry}/${repository}`
  return `${name}${suffixOf(reference)}`
}

function suffixOf({ tag, digest }: Reference): string {
  return `${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

function looksLikeHost(component: string): boolean {
  return (/[.:]/.test(component) || component === 'localhost') && HOST.test(component)
}

/** `reg__5000/x` is `reg:5000/x`: a colon is not legal in a repository name. */
function withPort(name: string): string {
  return name.replace(/^([a-z0-9.-]+)__(\d{1,5})(?=\/)/, '$1:$2')
}

function withoutDoor(name: string, doors: readonly string[]): string {
  const own = doors.find((door) => name.startsWith(`${door}/`))
  if (own !== undefined) return withPort(name.slice(own.length + 1))
  return name.replace(
    /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\]):\d{1,5}\/(?=(?:local|node)\/)/,
    '',
  )
}

function normaliseHost(host: string): string {
  const lower = host.toLowerCase()
  return lower === 'index.docker.io' || lower === 'registry-1.docker.io' ? DEFAULT_REGISTRY : lower
}

function officialName(registry: string, name: string): string {
  return normaliseHost(registry) === DEFAULT_REGISTRY && !name.includes('/')
    ? `library/${name}`
    : name
}

function invalid(text: string, why: string): OperationError {
  return new OperationError('REFERENCE_INVALID', `image "${text.slice(0, 300)}": ${why}`)
}
