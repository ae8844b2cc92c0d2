import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { hexOf, parseDigest } from '../oci/digest.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import { formatByteSize } from '../support/byte-size.ts'
import type { Command } from './command.ts'
import { withNodeOrOffline, withoutProgress } from './node-access.ts'
import { printable } from './table.ts'

/** Writes `<64 hex digits>.torrent` for every blob of the images. */
export const torrent: Command = async (invocation) => {
  const { operands, flags, output, host } = invocation
  const folder = resolve(host.workingDir, String(flags['output']))
  const { torrents } = await withNodeOrOffline(invocation, (operations) =>
    withoutProgress(invocation, operations.torrent, { references: operands }),
  )
  await makeFolder(folder)
  const written: (Omit<(typeof torrents)[number], 'metainfo'> & { path: string })[] = []
  for (const { metainfo, ...about } of torrents) {
    // a parsed digest alone makes a path
    const path = join(folder, `${hexOf(parseDigest(about.digest))}.torrent`)
    await writeFileAtomically(path, Buffer.from(metainfo, 'base64'))
    written.push({ ...about, path })
  }
  output.answer({ torrents: written }, () =>
    written
      .map(({ reference, size, magnet, path }) => {
        const title = `${printable(reference)}  ${formatByteSize(size)}`
        return [title, path, printable(magnet)].join('\n  ')
      })
      .join('\n'),
  )
  return 0
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
  } catch (cause) {
    const found = systemCodeOf(cause) ?? messageOf(cause)
    throw new OperationError('USAGE', `${path}: wanted a folder to write to, found ${found}`, {
      cause,
    })
  }
}
