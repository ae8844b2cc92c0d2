import { createCipheriv, createHash, type Cipheriv } from 'node:crypto'
import { mkdir, open, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { Descriptor } from '../oci/descriptor.ts'
import { Digester, digestOf, hexOf } from '../oci/digest.ts'
import { makeDeterministicManifest } from '../oci/manifest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { hostPlatform } from '../oci/platform.ts'

type Blob = Pick<Descriptor, 'digest' | 'size'>

/** An image that was made on the spot. */
export interface DemoImage {
  /** of the manifest */
  readonly digest: string
  readonly layers: readonly Blob[]
}

/**
 * how the bytes are shared out: the largest layer is the last that is fetched, so that much of it is still to be
 * passed on when every piece has left the seeder
 */
const LAYER_SHARES = [0.1, 0.2, 0.7]
const CHUNK_BYTES = 1024 * 1024
// POSIX pax, ustar Interchange Format: blocks of 512 bytes, two of zeros at the end
const TAR_BLOCK_BYTES = 512
const END_OF_TAR = Buffer.alloc(2 * TAR_BLOCK_BYTES)

/**
 * Writes an OCI image layout with three layers of random bytes; the same seed, size and date make the same image.
 * @param options.size bytes of all layers together, more or less
 */
export async function makeDemoImage(
  folder: string,
  { size, seed, created }: { size: number; seed: string; created: Date },
): Promise<DemoImage> {
  const blobs = join(folder, 'blobs', 'sha256')
  await mkdir(blobs, { recursive: true })
  const layers: Blob[] = []
  for (const [index, share] of LAYER_SHARES.entries()) {
    const name = `demo/layer-${index + 1}`
    layers.push(await writeLayer(blobs, { name, size: Math.round(size * share), seed }))
  }
  const config = await writeBlob(blobs, makeConfig(layers, created.toISOString()))
  const manifest = await writeBlob(blobs, makeDeterministicManifest(config, layers))
  const index = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: [{ mediaType: MEDIA_TYPES.ociManifest, ...manifest }],
  }
  await writeFile(join(folder, 'index.json'), JSON.stringify(index))
  await writeFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  return { digest: manifest.digest, layers }
}

async function writeBlob(blobs: string, content: Buffer): Promise<Blob> {
  const digest = digestOf(content)
  await writeFile(join(blobs, hexOf(digest)), content)
  return { digest, size: content.length }
}

/** A tar with one file. Uncompressed, so its digest is its diffID. */
async function writeLayer(
  blobs: string,
  { name, size, seed }: { name: string; size: number; seed: string },
): Promise<Blob> {
  const digester = new Digester()
  const beside = join(blobs, 'layer.tmp')
  await using file = await open(beside, 'w')
  for (const chunk of tarOf(name, size, randomBytesOf(`${seed} ${name}`))) {
    digester.update(chunk)
    await file.write(chunk)
  }
  const digest = digester.digest()
  await rename(beside, join(blobs, hexOf(digest)))
  return { digest, size: digester.bytes }
}

function* tarOf(name: string, size: number, random: Cipheriv): Generator<Buffer> {
  yield tarHeader(name, size)
  for (let left = size; left > 0; left -= CHUNK_BYTES) {
    yield random.update(Buffer.alloc(Math.min(CHUNK_BYTES, left)))
  }
  yield Buffer.alloc((TAR_BLOCK_BYTES - (size % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES)
  yield END_OF_TAR
}

/** A stream cipher's key stream: random to look at, the same for the same seed, and quick. */
function randomBytesOf(seed: string): Cipheriv {
  const key = createHash('sha256').update(seed).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
}

// POSIX pax, ustar Interchange Format, table 4-14
function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(TAR_BLOCK_BYTES)
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`
  header.write(name, 0)
  header.write(octal(0o644, 8), 100)
  header.write(octal(0, 8), 108)
  header.write(octal(0, 8), 116)
  header.write(octal(size, 12), 124)
  header.write(octal(0, 12), 136)
  header.write('        ', 148)
  header.write('0', 156)
  header.write('ustar\x0000', 257, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

function makeConfig(layers: readonly Blob[], created: string): Buffer {
  const { os, architecture } = hostPlatform()
  return Buffer.from(
    JSON.stringify({
      architecture,
      os,
      created,
      config: { Labels: { 'org.opencontainers.image.title': 'ddocker demo' } },
      rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
      history: layers.map(() => ({ created, created_by: 'ddocker demo' })),
    }),
  )
}
