/** Small archives for tests, made in memory. */
import { gzipSync } from 'node:zlib'

import { pack, type Header } from 'tar-stream'

import { digestOf, hexOf, type Digest } from '../oci/digest.ts'
import { makeDeterministicManifest } from '../oci/manifest.ts'

/** An entry of a tar to be made: a file with content, or a header as it stands. */
export type FixtureEntry = Partial<Header> & { name: string; content?: string | Buffer }

/** The bytes of a tar. */
export async function makeTar(entries: readonly FixtureEntry[]): Promise<Buffer> {
  const tar = pack()
  for (const { content, ...header } of entries) {
    const settled = { mtime: new Date(0), ...header }
    if (content === undefined) tar.entry(settled)
    else tar.entry(settled, content)
  }
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** Puts a size into a tar header (POSIX.1-1988, ustar). */
export function withSize(header: Buffer, size: number): Buffer {
  const changed = Buffer.from(header)
  changed.write(`${size.toString(8).padStart(11, '0')} `, 124)
  changed.fill(' ', 148, 156)
  const sum = changed.reduce((total, byte) => total + byte, 0)
  changed.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return changed
}

/** A layer: the tar of one file. */
export async function makeLayer(path: string, content = path): Promise<Buffer> {
  return await makeTar([{ name: path, content }])
}

/** A config for layers. */
export function makeConfig(layers: readonly Buffer[]): Buffer {
  const rootfs = { type: 'layers', diff_ids: layers.map((layer) => digestOf(layer)) }
  return Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', config: {}, rootfs }))
}

/** A descriptor of content. */
export function describe(
  content: Buffer,
  mediaType = 'application/vnd.oci.image.layer.v1.tar',
): { mediaType: string; digest: Digest; size: number } {
  return { mediaType, digest: digestOf(content), size: content.length }
}

/** An image, in the forms in which archives have it. */
export interface FixtureImage {
  readonly layers: readonly Buffer[]
  readonly config: Buffer
  /** the deterministic manifest of uncompressed layers */
  readonly manifest: Buffer
  readonly imageId: Digest
}

/** An image of layers that hold a file each. */
export async function makeImage(...paths: string[]): Promise<FixtureImage> {
  const layers = await Promise.all(paths.map(async (path) => await makeLayer(path)))
  const config = makeConfig(layers)
  const manifest = makeDeterministicManifest(
    describe(config),
    layers.map((layer) => describe(layer)),
  )
  return { layers, config, manifest, imageId: digestOf(config) }
}

/** The entries of `docker save` before Docker 25; the layers first, as there. */
export function saveEntries(
  { layers, config }: FixtureImage,
  names: string[] = [],
): FixtureEntry[] {
  const configName = `${hexOf(digestOf(config))}.json`
  const table = [
    {
      Config: configName,
      RepoTags: names.length > 0 ? names : null,
      Layers: layers.map((_, index) => `layer${index}/layer.tar`),
    },
  ]
  return [
    ...layers.flatMap((content, index) => [
      { name: `layer${index}/`, type: 'directory' as const },
      { name: `layer${index}/VERSION`, content: '1.0' },
      { name: `layer${index}/json`, content: '{"id":"x"}' },
      { name: `layer${index}/layer.tar`, content },
    ]),
    { name: configName, content: config },
    { name: 'manifest.json', content: JSON.stringify(table) },
  ]
}

/** The entry of a blob of an image layout. */
export function blobEntry(content: Buffer): FixtureEntry {
  return { name: `blobs/sha256/${hexOf(digestOf(content))}`, content }
}

/** The entries of an image layout of roots and blobs. */
export function layoutEntries(roots: readonly object[], blobs: readonly Buffer[]): FixtureEntry[] {
  const index = { schemaVersion: 2, manifests: roots }
  return [
    ...blobs.map(blobEntry),
    { name: 'index.json', content: JSON.stringify(index) },
    { name: 'oci-layout', content: '{"imageLayoutVersion":"1.0.0"}' },
  ]
}

/** An image with layers in gzip, as registries have them, for an image layout. */
export async function makeCompressedImage(...paths: string[]): Promise<FixtureImage> {
  const plain = await makeImage(...paths)
  const layers = plain.layers.map((layer) => gzipSync(layer))
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: describe(plain.config, 'application/vnd.oci.image.config.v1+json'),
      layers: layers.map((layer) => describe(layer, 'application/vnd.oci.image.layer.v1.tar+gzip')),
    }),
  )
  return { ...plain, layers, manifest }
}

export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'

/** Bytes as a stream, in small pieces that cut through everything. */
export async function* inPieces(content: Buffer, length = 1000): AsyncGenerator<Buffer, void> {
  for (let start = 0; start < content.length; start += length) {
    yield content.subarray(start, start + length)
  }
}
