/**
 * Images as registries hold them, made in memory: compressed layers of real files, and everything
 * that makes images differ. All but the artifact run `sh`: a static busybox is their first layer.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import type { Descriptor } from '../../oci/descriptor.ts'
import { digestOf } from '../../oci/digest.ts'
import type { Digest } from '../../oci/digest.ts'
import { MEDIA_TYPES } from '../../oci/media-types.ts'
import { hostPlatform } from '../../oci/platform.ts'
import type { Platform } from '../../oci/platform.ts'
import { makeTar } from '../archive-fixtures.ts'
import type { FixtureEntry } from '../archive-fixtures.ts'

const MIB = 1024 * 1024
const APPLETS = ['cat', 'find', 'ls', 'sh', 'sha256sum', 'sort', 'true']
const OTHER_ARCHITECTURE = 'riscv64'
const LAYER_COUNT = 40

const LAYER_TYPES = {
  gzip: MEDIA_TYPES.ociLayerGzip,
  zstd: `${MEDIA_TYPES.ociLayer}+zstd`,
  docker: MEDIA_TYPES.dockerLayerGzip,
} as const

/** Prints the digest of every file of an image; `filesOutput` of the image is what it must print. */
export const FILES_COMMAND = [
  'sh',
  '-c',
  'find /bin /srv -type f -exec sha256sum {} + | sort',
] as const

/** One manifest, byte for byte. */
export interface UpstreamManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
}

/** All that a registry needs to hold an image. */
export interface UpstreamImage {
  /** What a tag means: a manifest or an image index. */
  readonly root: Digest
  /** Children before what names them; the root is the last. */
  readonly manifests: readonly UpstreamManifest[]
  readonly blobs: ReadonlyMap<Digest, Buffer>
  /** The ID that engines of the graphdriver kind and Podman give it: the config for this machine. */
  readonly config: Digest
  /** For this machine, base first. */
  readonly layers: readonly Pick<Descriptor, 'digest' | 'size'>[]
  /** What some engines want besides: attestations, and the configs of other platforms. */
  readonly optional: readonly Digest[]
  /** What `FILES_COMMAND` prints in it; empty when it cannot run. */
  readonly filesOutput: string
}

interface Layer {
  readonly bytes: Buffer
  readonly diffId: Digest
  readonly mediaType: string
}

interface Part {
  readonly manifest: UpstreamManifest
  readonly blobs: ReadonlyMap<Digest, Buffer>
  readonly config: Digest
  readonly layers: readonly Descriptor[]
}

type LayerKind = keyof typeof LAYER_TYPES

/**
 * A usual image: busybox, a layer with a file that the next one removes, incompressible bytes.
 * @param options.mib of incompressible bytes, default 2
 * @param options.kind of its layers, default `gzip`; `docker` has the media types of Docker
 */
export async function makeAppImage(
  name: string,
  { mib = 2, kind = 'gzip' }: { mib?: number; kind?: LayerKind } = {},
): Promise<UpstreamImage> {
  const files = new Map([
    ['bin/busybox', busybox()],
    ['srv/message', Buffer.from(`${name} ${randomUUID()}\n`)],
    ['srv/random', randomBytes(mib * MIB)],
  ])
  const layers = [
    await busyboxLayer(kind),
    await makeLayer(kind, [
      { name: 'srv/', type: 'directory' },
      { name: 'srv/gone', content: randomUUID() },
    ]),
    await makeLayer(kind, [
      { name: 'srv/message', content: files.get('srv/message') ?? '' },
      { name: 'srv/.wh.gone', content: '' },
    ]),
    await makeLayer(kind, [{ name: 'srv/random', content: files.get('srv/random') ?? '' }]),
  ]
  return imageOf(makePart(layers, kind), files)
}

/** An image of 40 layers with a file each. */
export async function makeManyLayersImage(): Promise<UpstreamImage> {
  const files = new Map([['bin/busybox', busybox()]])
  const layers = [await busyboxLayer('gzip')]
  for (let index = layers.length; index < LAYER_COUNT; index += 1) {
    const content = randomBytes(8192)
    files.set(`srv/${index}`, content)
    const folder = { name: 'srv/', type: 'directory' } as const
    layers.push(await makeLayer('gzip', [folder, { name: `srv/${index}`, content }]))
  }
  return imageOf(makePart(layers, 'gzip'), files)
}

/** An image with a layer that holds no file, in the middle and, once more, at the end. */
export async function makeEmptyLayerImage(): Promise<UpstreamImage> {
  const message = randomBytes(16)
  const files = new Map([
    ['bin/busybox', busybox()],
    ['srv/message', message],
  ])
  const empty = await makeLayer('gzip', [])
  const folder = { name: 'srv/', type: 'directory' } as const
  const last = await makeLayer('gzip', [folder, { name: 'srv/message', content: message }])
  return imageOf(makePart([await busyboxLayer('gzip'), empty, last, empty], 'gzip'), files)
}

/**
 * An image index as `docker buildx` pushes it: two platforms, only one of which runs here, and an
 * attestation for each, of the platform unknown/unknown.
 */
export async function makeIndexImage(): Promise<UpstreamImage> {
  const own = await makeAppImage('index')
  const [ownManifest] = own.manifests
  if (ownManifest === undefined) throw new TypeError('an image has a manifest')
  const stranger = makePart(
    [await makeLayer('gzip', [{ name: 'other', content: randomUUID() }])],
    'gzip',
    {
      architecture: OTHER_ARCHITECTURE,
    },
  )
  const attestations = [ownManifest, stranger.manifest].map(({ digest }) => attestationOf(digest))
  const { os, architecture } = hostPlatform()
  const index = manifestOf(MEDIA_TYPES.ociIndex, {
    manifests: [
      { ...entryOf(stranger.manifest), platform: { os, architecture: OTHER_ARCHITECTURE } },
      { ...entryOf(ownManifest), platform: { os, architecture } },
      ...attestations.map(({ manifest, subject }) => ({
        ...entryOf(manifest),
        platform: { os: 'unknown', architecture: 'unknown' },
        annotations: {
          'vnd.docker.reference.type': 'attestation-manifest',
          'vnd.docker.reference.digest': subject,
        },
      })),
    ],
  })
  const parts = [stranger, ...attestations]
  return {
    ...own,
    root: index.digest,
    manifests: [ownManifest, ...parts.map(({ manifest }) => manifest), index],
    blobs: new Map([...own.blobs, ...parts.flatMap(({ blobs }) => [...blobs])]),
    optional: [stranger.config, ...attestations.flatMap(({ blobs }) => [...blobs.keys()])],
  }
}

/** An OCI artifact: a manifest whose one layer is no tar and whose config is `{}` (image-spec 1.1). */
export function makeArtifact(): UpstreamImage {
  const config = Buffer.from('{}')
  const file = Buffer.from(`an artifact ${randomBytes(8).toString('hex')}\n`)
  const layer = { mediaType: 'text/plain', digest: digestOf(file), size: file.length }
  const manifest = manifestOf(MEDIA_TYPES.ociManifest, {
    artifactType: 'application/vnd.ddocker-lab.note.v1',
    config: describe(config, 'application/vnd.oci.empty.v1+json'),
    layers: [{ ...layer, annotations: { 'org.opencontainers.image.title': 'note.txt' } }],
  })
  return {
    root: manifest.digest,
    manifests: [manifest],
    blobs: new Map([config, file].map((bytes) => [digestOf(bytes), bytes])),
    config: digestOf(config),
    layers: [layer],
    optional: [],
    filesOutput: '',
  }
}

/** Bytes of all layers, each counted once. */
export function layerBytes({ layers }: UpstreamImage): number {
  const sizes = new Map(layers.map(({ digest, size }) => [digest, size]))
  return [...sizes.values()].reduce((sum, size) => sum + size, 0)
}

function imageOf(part: Part, files: ReadonlyMap<string, Buffer>): UpstreamImage {
  const { manifest, blobs, config, layers } = part
  const lines = [...files].map(([name, content]) => `${digestOf(content).slice(7)}  /${name}`)
  return {
    root: manifest.digest,
    manifests: [manifest],
    blobs,
    config,
    layers,
    optional: [],
    filesOutput: lines.sort().join('\n'),
  }
}

function makePart(
  layers: readonly Layer[],
  kind: LayerKind,
  { architecture }: Pick<Platform, 'architecture'> = hostPlatform(),
): Part {
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: 'linux',
      created: '2024-01-01T00:00:00Z',
      config: { Env: ['PATH=/bin'], Cmd: FILES_COMMAND },
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    }),
  )
  const isDocker = kind === 'docker'
  const descriptors = layers.map(({ bytes, mediaType }) => describe(bytes, mediaType))
  const type = isDocker ? MEDIA_TYPES.dockerManifest : MEDIA_TYPES.ociManifest
  const configType = isDocker ? MEDIA_TYPES.dockerConfig : MEDIA_TYPES.ociConfig
  return {
    manifest: manifestOf(type, { config: describe(config, configType), layers: descriptors }),
    blobs: new Map([config, ...layers.map(({ bytes }) => bytes)].map((b) => [digestOf(b), b])),
    config: digestOf(config),
    layers: descriptors,
  }
}

/** A manifest as BuildKit writes it for what it says about another one. */
function attestationOf(subject: Digest): Part & { readonly subject: Digest } {
  const statement = Buffer.from(
    JSON.stringify({ _type: 'https://in-toto.io/Statement/v0.1', subject }),
  )
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'unknown',
      os: 'unknown',
      config: {},
      rootfs: { type: 'layers', diff_ids: [digestOf(statement)] },
    }),
  )
  const layer = describe(statement, 'application/vnd.in-toto+json')
  return {
    subject,
    manifest: manifestOf(MEDIA_TYPES.ociManifest, {
      config: describe(config, MEDIA_TYPES.ociConfig),
      layers: [layer],
    }),
    blobs: new Map([config, statement].map((bytes) => [digestOf(bytes), bytes])),
    config: digestOf(config),
    layers: [layer],
  }
}

async function busyboxLayer(kind: LayerKind): Promise<Layer> {
  const links = APPLETS.map((applet) => ({
    name: `bin/${applet}`,
    type: 'symlink' as const,
    linkname: 'busybox',
  }))
  return await makeLayer(kind, [
    { name: 'bin/', type: 'directory' },
    { name: 'bin/busybox', content: busybox(), mode: 0o755 },
    ...links,
    // No two images share this layer, so that each must bring all its bytes.
    { name: 'mark', content: randomUUID() },
  ])
}

function busybox(): Buffer {
  return readFileSync('/bin/busybox')
}

async function makeLayer(kind: LayerKind, entries: readonly FixtureEntry[]): Promise<Layer> {
  const tar = await makeTar(entries)
  const bytes = kind === 'zstd' ? zstdCompressSync(tar) : gzipSync(tar, { level: 1 })
  return { bytes, diffId: digestOf(tar), mediaType: LAYER_TYPES[kind] }
}

function manifestOf(mediaType: string, fields: Record<string, unknown>): UpstreamManifest {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...fields }, null, 2))
  return { digest: digestOf(bytes), mediaType, bytes }
}

function entryOf({ digest, mediaType, bytes }: UpstreamManifest) {
  return { mediaType, digest, size: bytes.length }
}

function describe(content: Buffer, mediaType: string): Descriptor {
  return { mediaType, digest: digestOf(content), size: content.length }
}
