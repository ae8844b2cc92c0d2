import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { hexOf, parseDigest } from '../oci/digest.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'

/** Makes the folder that .torrent files go to. @throws OperationError USAGE */
export async function makeTorrentFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
  } catch (cause) {
    const found = systemCodeOf(cause) ?? messageOf(cause)
    throw new OperationError('USAGE', `${path}: wanted a folder to write to, found ${found}`, {
      cause,
    })
  }
}

/**
 * Writes `<64 hex digits>.torrent`.
 * @param torrent.metainfo base64
 * @returns its path
 * @throws OperationError DIGEST_INVALID: a parsed digest alone makes a path
 */
export async function writeTorrentFile(
  folder: string,
  { digest, metainfo }: { digest: string; metainfo: string },
): Promise<string> {
  const path = join(folder, `${hexOf(parseDigest(digest))}.torrent`)
  await writeFileAtomically(path, Buffer.from(metainfo, 'base64'))
  return path
}
