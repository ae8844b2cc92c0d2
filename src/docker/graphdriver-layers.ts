/**
 * Images of the classic Docker store, read from its own files: no copy in the engine's temporary folder, and
 * a layer that is held costs nothing. Below <data-root>, for overlay2:
 *
 *   image/overlay2/imagedb/content/sha256/<image ID>      the config, original bytes
 *   image/overlay2/layerdb/sha256/<chainID>/diff          the diffID
 *                                          /cache-id      the folder of its files
 *                                          /tar-split.json.gz
 *   overlay2/<cache-id>/diff/                             the files
 *
 * All of it is proved by digest, so a store that is not as expected can fail but not mislead.
 */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { OperationError, systemCodeOf } from '../errors.ts'
import { digestOf, hexOf, type Digest } from '../oci/digest.ts'
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { archiveInvalid, checkLayerCount, type ArchivedImage } from './archived-image.ts'
import type { BlobSink } from './blob-sink.ts'
import { streamOf } from './byte-streams.ts'
import type { FoundLayer } from './docker-table-layer.ts'
import { parseDiffIds, storeImage } from './docker-table.ts'
import { rebuildLayer } from './layer-rebuild.ts'
import { measureTarSplit } from './tar-split.ts'

/** The files of an engine that this process may read. */
export class GraphdriverLayers {
  readonly #rootDir: string

  private constructor(rootDir: string) {
    this.#rootDir = rootDir
  }

  /** @returns undefined where the files cannot be read: another host, no permission, another driver */
  static async open(rootDir: string): Promise<GraphdriverLayers | undefined> {
    try {
      await stat(join(rootDir, 'image/overlay2/imagedb/content/sha256'))
      return new GraphdriverLayers(rootDir)
    } catch (error) {
      if (systemCodeOf(error) === undefined) throw error
      return undefined
    }
  }

  /**
   * Puts an image into the sink, under the manifest that every holder of it makes.
   * @param image its ID, and the names it shall have
   * @throws OperationError ARCHIVE_INVALID, BLOB_DIGEST_MISMATCH, BLOB_SIZE_MISMATCH, system errors: the
   *   store is not as expected; what the sink throws
   */
  async readImage(
    image: { readonly id: Digest; readonly names: readonly string[] },
    sink: BlobSink,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<ArchivedImage> {
    const config = await this.#readConfig(image.id)
    const diffIds = parseDiffIds(config, `config ${image.id}`)
    checkLayerCount(`config ${image.id}`, diffIds.length)
    const layers: FoundLayer[] = []
    for (const [index, chainId] of chainIdsOf(diffIds).entries()) {
      const diffId = diffIds[index]
      if (diffId !== undefined)
        layers.push(await this.#storeLayer({ diffId, chainId }, sink, signal))
    }
    const descriptor = { digest: image.id, size: config.length }
    if (!(await sink.stat(image.id))) await sink.ingest(streamOf(config), descriptor)
    return await storeImage({ names: image.names, config: descriptor, layers }, sink)
  }

  async #readConfig(id: Digest): Promise<Buffer> {
    const path = join(this.#rootDir, 'image/overlay2/imagedb/content/sha256', hexOf(id))
    const { size } = await stat(path)
    if (size > MAX_MANIFEST_BYTES) {
      const wanted = `at most ${MAX_MANIFEST_BYTES} bytes`
      throw archiveInvalid(`config ${id}`, { wanted, found: size })
    }
    const config = await readFile(path)
    const found = digestOf(config)
    if (found === id) return config
    throw new OperationError('BLOB_DIGEST_MISMATCH', `config: wanted ${id}, found ${found}`)
  }

  async #storeLayer(
    { diffId, chainId }: { diffId: Digest; chainId: Digest },
    sink: BlobSink,
    signal: AbortSignal | undefined,
  ): Promise<FoundLayer> {
    const mediaType = MEDIA_TYPES.ociLayer
    const held = await sink.stat(diffId)
    if (held) return { digest: diffId, size: held.size, mediaType }
    const layer = await this.#findLayer(diffId, chainId)
    const size = await measureTarSplit(layer.tarSplitPath)
    const bytes = untilAborted(rebuildLayer(layer), signal)
    await sink.ingest(bytes, { size, digest: diffId })
    return { digest: diffId, size, mediaType }
  }

  async #findLayer(
    diffId: Digest,
    chainId: Digest,
  ): Promise<{ tarSplitPath: string; folder: string }> {
    const layer = join(this.#rootDir, 'image/overlay2/layerdb/sha256', hexOf(chainId))
    const found = (await readFile(join(layer, 'diff'), 'utf8')).trim()
    if (found !== diffId) throw archiveInvalid(`layer ${chainId}`, { wanted: diffId, found })
    const cacheId = (await readFile(join(layer, 'cache-id'), 'utf8')).trim()
    if (!/^[0-9a-z]{1,128}$/.test(cacheId)) {
      throw archiveInvalid(`layer ${chainId}`, { wanted: 'a cache ID', found: cacheId })
    }
    return {
      tarSplitPath: join(layer, 'tar-split.json.gz'),
      folder: join(this.#rootDir, 'overlay2', cacheId, 'diff'),
    }
  }
}

/** The chainID of each layer, base first (image-spec, config.md, Layer ChainID). */
export function chainIdsOf(diffIds: readonly Digest[]): Digest[] {
  const chainIds: Digest[] = []
  for (const diffId of diffIds) {
    const below = chainIds.at(-1)
    chainIds.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`))
  }
  return chainIds
}

async function* untilAborted(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of source) {
    signal?.throwIfAborted()
    yield chunk
  }
}
