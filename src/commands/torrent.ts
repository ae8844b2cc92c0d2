import { resolve } from 'node:path'

import { formatByteSize } from '../support/byte-size.ts'
import type { Command } from './command.ts'
import { withNodeOrOffline, withoutProgress } from './node-access.ts'
import { printable } from './table.ts'
import { makeTorrentFolder, writeTorrentFile } from './torrent-files.ts'

/** Writes `<64 hex digits>.torrent` for every blob of the images. */
export const torrent: Command = async (invocation) => {
  const { operands, flags, output, host } = invocation
  const folder = resolve(host.workingDir, String(flags['output']))
  const { torrents } = await withNodeOrOffline(invocation, (operations) =>
    withoutProgress(invocation, operations.torrent, { references: operands }),
  )
  await makeTorrentFolder(folder)
  const written: (Omit<(typeof torrents)[number], 'metainfo'> & { path: string })[] = []
  for (const { metainfo, ...about } of torrents) {
    written.push({ ...about, path: await writeTorrentFile(folder, { ...about, metainfo }) })
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
