/** What an engine says of itself and its images, parsed and bounded to what we use. */
import { asRecord } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import { engineFailed } from './engine-error.ts'

/** An engine. */
export interface EngineDescription {
  readonly version: string
  readonly apiVersion: string
  /** the classic store keeps unpacked layers, the containerd store the blobs as they came */
  readonly store: 'graphdriver' | 'containerd'
  /** `overlay2` and so on; with the containerd store the snapshotter */
  readonly driver: string
  readonly rootDir: string
  readonly id: string
}

/** An image as the engine lists it. */
export interface EngineImage {
  /** classic store: the digest of the config; containerd store: of the manifest or image index */
  readonly id: Digest
  /** `name:tag`; empty for a dangling image */
  readonly names: string[]
  /** `name@digest` */
  readonly repoDigests: string[]
  /** bytes, as the engine counts them */
  readonly size: number
}

/** An image looked at closely. */
export interface InspectedImage extends EngineImage {
  /** digests of the uncompressed layers, base first */
  readonly diffIds: readonly Digest[]
  readonly os: string
  readonly architecture: string
}

/** @param info the body of GET /info @param version of GET /version */
export function parseEngineDescription(info: unknown, version: unknown): EngineDescription {
  const facts = asRecord(info) ?? {}
  const apiVersion = asRecord(version)?.['ApiVersion']
  if (typeof apiVersion !== 'string') throw engineFailed('version', 'it is not a Docker engine')
  return {
    version: text(facts['ServerVersion']),
    apiVersion,
    store: isContainerdStore(facts['DriverStatus']) ? 'containerd' : 'graphdriver',
    driver: text(facts['Driver']),
    rootDir: text(facts['DockerRootDir']),
    id: text(facts['ID']),
  }
}

/** @param value an entry of GET /images/json; undefined when it has no digest for an ID */
export function parseEngineImage(value: unknown): EngineImage | undefined {
  const entry = asRecord(value)
  const id = entry?.['Id']
  if (!entry || !isDigest(id)) return undefined
  return {
    id,
    // Docker before 25 names the nameless <none>:<none>.
    names: texts(entry['RepoTags']).filter((name) => !name.includes('<none>')),
    repoDigests: texts(entry['RepoDigests']).filter((name) => !name.includes('<none>')),
    size: typeof entry['Size'] === 'number' ? entry['Size'] : 0,
  }
}

/** @param value the body of GET /images/{name}/json */
export function parseInspectedImage(value: unknown): InspectedImage {
  const entry = asRecord(value)
  const image = parseEngineImage(value)
  if (!entry || !image) throw engineFailed('inspect', 'its answer has no image ID')
  const layers = texts(asRecord(entry['RootFS'])?.['Layers'])
  return {
    ...image,
    diffIds: layers.filter((layer) => isDigest(layer)),
    os: text(entry['Os']),
    architecture: text(entry['Architecture']),
  }
}

function isContainerdStore(driverStatus: unknown): boolean {
  const pairs: unknown[] = Array.isArray(driverStatus) ? driverStatus : []
  return pairs.some((pair) => texts(pair).includes('io.containerd.snapshotter.v1'))
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
