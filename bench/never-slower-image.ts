/** Images for pulls by real engines: layers that are real tars, pushed to a real registry. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

import { MEDIA_TYPES } from '../src/oci/media-types.ts'
import { makeTar, type FixtureEntry } from '../src/testing/archive-fixtures.ts'
import type { NetworkHost } from '../src/testing/lab/network.ts'
import { skopeoCopy } from '../src/testing/lab/skopeo.ts'

/** What a layer is made of. */
export interface LayerPlan {
  /** the entries of its tar */
  entries(): FixtureEntry[]
  /** of gzip: 0 stores, 9 is slow */
  readonly level: number
}

/** Where images are pushed to: a registry, from the host that it runs in. */
export interface PushTarget {
  /** `address:port` */
  readonly registry: string
  readonly host: NetworkHost
  /** for files that are removed afterwards */
  readonly directory: string
}

/** A layer of one file of bytes that do not compress. */
export function randomLayer(bytes: number): LayerPlan {
  const name = randomBytes(8).toString('hex')
  return { level: 0, entries: () => [{ name, content: randomBytes(bytes) }] }
}

/** Makes an image and pushes it as `<registry>/<name>`. @returns bytes of each layer, compressed */
export async function pushImage(
  target: PushTarget,
  name: string,
  plans: readonly LayerPlan[],
): Promise<number[]> {
  const layout = join(target.directory, 'push')
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true })
  const put = async (bytes: Buffer) => {
    const hex = sha256(bytes)
    await writeFile(join(layout, 'blobs/sha256', hex), bytes)
    return { digest: `sha256:${hex}`, size: bytes.length }
  }
  const [layers, diffIds]: [object[], string[]] = [[], []]
  const sizes: number[] = []
  for (const plan of plans) {
    const tar = await makeTar(plan.entries())
    diffIds.push(`sha256:${sha256(tar)}`)
    const stored = await put(gzipSync(tar, { level: plan.level }))
    layers.push({ mediaType: MEDIA_TYPES.ociLayerGzip, ...stored })
    sizes.push(stored.size)
  }
  const config = await put(json({ ...PLATFORM, rootfs: { type: 'layers', diff_ids: diffIds } }))
  const manifest = await put(
    json({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: { mediaType: MEDIA_TYPES.ociConfig, ...config },
      layers,
    }),
  )
  const root = { mediaType: MEDIA_TYPES.ociManifest, ...manifest }
  await writeFile(join(layout, 'index.json'), json({ schemaVersion: 2, manifests: [root] }))
  await writeFile(join(layout, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }))
  const { prefix } = target.host
  await skopeoCopy(`oci:${layout}`, `docker://${target.registry}/${name}`, { prefix })
  await rm(layout, { recursive: true })
  return sizes
}

const PLATFORM = { architecture: process.arch === 'arm64' ? 'arm64' : 'amd64', os: 'linux' }

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value))
}
