import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import type { TorrentRecord } from '../src/catalog/torrent-records.ts'
import { hexOf, type Digest } from '../src/oci/digest.ts'
import { PieceDigester } from '../src/store/piece-digester.ts'
import { encodeTorrentFile, makeTorrent } from '../src/torrent/metainfo.ts'
import { pieceLength } from '../src/torrent/piece-length.ts'
import { writeLayout } from '../src/testing/testnet.ts'

/** An image of one random layer, for ddocker as an OCI layout, for others as a file with its torrent. */
export interface BenchImage {
  readonly layoutPath: string
  readonly digest: Digest
  readonly size: number
  readonly torrent: TorrentRecord
  readonly torrentPath: string
  /** where the layer lies under the name that its torrent gives it */
  readonly blobPath: string
}

/** Makes an image below `directory`; every one has other bytes. */
export async function makeBenchImage(directory: string, size: number): Promise<BenchImage> {
  await mkdir(directory, { recursive: true })
  const { path, layers } = await writeLayout(join(directory, 'layout'), [size])
  const [layer] = layers
  if (!layer) throw new TypeError('a layout without a layer')
  const pieces = new PieceDigester(pieceLength(size))
  pieces.update(layer.bytes)
  const torrent = makeTorrent({ digest: layer.digest, size, pieces: pieces.digest() })
  const torrentPath = join(directory, 'blob.torrent')
  await writeFile(torrentPath, encodeTorrentFile(torrent))
  const blobPath = join(path, 'blobs/sha256', hexOf(layer.digest))
  return { layoutPath: path, digest: layer.digest, size, torrent, torrentPath, blobPath }
}

/** The folder that holds the layer, for clients that are told where a torrent's files are. */
export function folderOf({ blobPath }: BenchImage): string {
  return dirname(blobPath)
}
