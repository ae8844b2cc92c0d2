import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { digestOf, hexOf, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { digestSecrets, textSecret, type Secret } from './secrets-on-wire.ts'

/** A part of a marked image. */
export interface MarkedBlob {
  readonly role: string
  readonly digest: Digest
  readonly bytes: Buffer
}

/** An image of which every part can be told from anything else by any 16 bytes of it. */
export interface MarkedImage {
  /** an OCI layout folder */
  readonly path: string
  /** `local/<repository>:<tag>`, both long and like nothing else */
  readonly reference: string
  readonly repository: string
  readonly tag: string
  /** manifest, config, and the layers from the lowest */
  readonly blobs: readonly MarkedBlob[]
  readonly layers: readonly MarkedBlob[]
}

/** Writes an OCI layout of layers of these sizes, in bytes: half of it pattern, half of it random. */
export async function writeMarkedImage(
  path: string,
  layerSizes: readonly number[],
): Promise<MarkedImage> {
  const mark = randomBytes(8).toString('hex')
  const layers = layerSizes.map((size, index) => blobOf(`layer ${index}`, layerBytes(size)))
  const config = jsonBlob('config', {
    architecture: 'amd64',
    os: 'linux',
    config: { Labels: { mark: `config-${mark}-config` } },
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
  })
  const manifest = jsonBlob('manifest', {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config: { mediaType: MEDIA_TYPES.ociConfig, ...sizeOf(config) },
    layers: layers.map((layer) => ({ mediaType: MEDIA_TYPES.ociLayerGzip, ...sizeOf(layer) })),
    annotations: { mark: `manifest-${mark}-manifest` },
  })
  const blobs = [manifest, config, ...layers]
  const manifests = [{ mediaType: MEDIA_TYPES.ociManifest, ...sizeOf(manifest) }]
  const folder = join(path, 'blobs/sha256')
  await mkdir(folder, { recursive: true })
  for (const { digest, bytes } of blobs) await writeFile(join(folder, hexOf(digest)), bytes)
  await writeFile(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  await writeFile(join(path, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  const [repository, tag] = [`repository-${mark}`, `tag-${mark}`]
  return { path, reference: `local/${repository}:${tag}`, repository, tag, blobs, layers }
}

/** Its names, digests and what its small parts say. */
export function secretsOf({ repository, tag, blobs }: MarkedImage): Secret[] {
  return [
    textSecret('image name', repository),
    textSecret('tag', tag),
    ...blobs.flatMap(({ role, digest }) => digestSecrets(`digest of the ${role}`, digest)),
    ...blobs.flatMap(({ role, bytes }) =>
      (/(?:config|manifest)-[0-9a-f]{16}-\w+/.exec(bytes.toString('latin1')) ?? []).map((text) =>
        textSecret(`text of the ${role}`, text),
      ),
    ),
  ]
}

// Lines of 64 bytes that all differ, and as many random bytes, by turns of 4 KiB.
function layerBytes(size: number): Buffer {
  const bytes = randomBytes(size)
  const mark = randomBytes(4).toString('hex')
  for (let offset = 0; offset + 64 <= size; offset += 64) {
    if ((offset >> 12) % 2 === 1) continue
    // Scattered, so that the first four bytes of a block tell most of them apart.
    const number = ((offset * 0x9e3779b1) % 2 ** 32).toString(16).padStart(8, '0')
    for (let part = 0; part < 4; part += 1) {
      bytes.write(
        `${'abcd'[part] ?? ''}${number}${mark.slice(0, 6)}\n`,
        offset + 16 * part,
        'latin1',
      )
    }
  }
  return bytes
}

function jsonBlob(role: string, value: object): MarkedBlob {
  return blobOf(role, Buffer.from(JSON.stringify(value)))
}

function blobOf(role: string, bytes: Buffer): MarkedBlob {
  return { role, digest: digestOf(bytes), bytes }
}

function sizeOf({ digest, bytes }: MarkedBlob): { digest: Digest; size: number } {
  return { digest, size: bytes.length }
}
