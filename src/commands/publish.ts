import { resolve } from 'node:path'

import type { PublishedImage, PublishResult, UnpublishResult } from '../control/control-protocol.ts'
import { formatByteSize } from '../support/byte-size.ts'
import type { Command } from './command.ts'
import { runningNode, withoutProgress } from './node-access.ts'
import { concludeInPart } from './partial-outcome.ts'
import { printable } from './table.ts'
import { makeTorrentFolder, writeTorrentFile } from './torrent-files.ts'
import { count, shortDigest } from './wording.ts'

type BlobAnswer = Omit<PublishedImage['blobs'][number], 'metainfo'> & { readonly path?: string }
type ImageAnswer = Omit<PublishedImage, 'blobs'> & { readonly blobs: readonly BlobAnswer[] }

/** What is shown once: the long form is in SECURITY.md. */
const WHO_LEARNS_WHAT = `Everybody can have these images from now on, with any BitTorrent client, and learns that they come from
the public address of this host. Who crawls the DHT keeps that for good. Your swarm, its key, its members
and everything else that this node holds stay unknown to them: the public side has an identity, a port and
a DHT of its own. \`ddocker publish --help\` says more, \`ddocker unpublish\` ends it.`

/** Shares images with everybody, and prints what leads there. */
export const publish: Command = async (invocation) => {
  const { operands, flags, output, host } = invocation
  const { own, address, output: into } = flags
  const folder = typeof into === 'string' ? resolve(host.workingDir, into) : undefined
  // A folder that cannot be written is found out before anything is public.
  if (folder !== undefined) await makeTorrentFolder(folder)
  const result = await withoutProgress(invocation, runningNode(invocation).publish, {
    references: operands,
    own: own === true,
    metainfo: folder !== undefined,
    ...(typeof address === 'string' && { address }),
  })
  const images = await Promise.all(result.images.map((image) => written(image, folder)))
  output.answer({ ...result, images }, () => render({ ...result, images }))
  if (images.length > 0) output.note(remark(result))
  return concludeInPart(output, {
    what: 'image',
    total: result.images.length + result.failed.length,
    failures: result.failed.map(({ reference, error }) => ({ name: reference, error })),
  })
}

/** Ends the sharing of images with everybody. */
export const unpublish: Command = async (invocation) => {
  const { operands, output } = invocation
  const result = await withoutProgress(invocation, runningNode(invocation).unpublish, {
    references: operands,
  })
  output.answer(result, () => result.images.map(renderEnded).join('\n'))
  if (result.images.length > 0) {
    output.note(
      'This node gives it to nobody outside its swarm any more. Copies that others made, and what crawlers of the DHT\n' +
        'noted, cannot be taken back; the DHT itself forgets within half an hour.',
    )
  }
  return concludeInPart(output, {
    what: 'image',
    total: result.images.length + result.failed.length,
    failures: result.failed.map(({ reference, error }) => ({ name: reference, error })),
  })
}

/** The answer without the files in it, which are where -o says. */
async function written(
  { blobs, ...about }: PublishedImage,
  folder: string | undefined,
): Promise<ImageAnswer> {
  const answers: BlobAnswer[] = []
  for (const { metainfo, ...blob } of blobs) {
    const isWanted = folder !== undefined && metainfo !== undefined
    const path = isWanted && (await writeTorrentFile(folder, { ...blob, metainfo }))
    answers.push({ ...blob, ...(path !== false && { path }) })
  }
  return { ...about, blobs: answers }
}

function render({ images }: Omit<PublishResult, 'images'> & { images: readonly ImageAnswer[] }) {
  return images.map(renderImage).join('\n')
}

function renderImage({ reference, digest, blobs, absentBlobs, manifests }: ImageAnswer): string {
  const size = blobs.reduce((sum, blob) => sum + blob.size, 0)
  const title = `${printable(reference)}  ${shortDigest(digest)}  ${formatByteSize(size)}`
  const held = manifests
    ? [
        `  ${manifests.held} of ${count(manifests.listed, 'manifest')} of its index: those that are here`,
      ]
    : []
  const absent = absentBlobs > 0 ? [`  without ${count(absentBlobs, 'blob')} not here`] : []
  const lines = blobs.flatMap((blob) => [
    `  ${blob.role} ${formatByteSize(blob.size)}`,
    ...(blob.path === undefined ? [] : [`    ${blob.path}`]),
    `    ${printable(blob.magnet)}`,
  ])
  return [title, ...held, ...absent, ...lines].join('\n')
}

function remark({ swarm, isFirst, publicNode }: PublishResult): string {
  if (swarm === 'public') {
    return 'This node is in the public swarm: all that it holds is public already, but for what needed a login.'
  }
  const port = publicNode === undefined ? '' : `, at port ${publicNode.port} (TCP and UDP)`
  const short = `public${port}; what others copy cannot be taken back`
  return isFirst ? `${short}\n${WHO_LEARNS_WHAT}` : short
}

function renderEnded({ reference, digest, names }: UnpublishResult['images'][number]): string {
  const known = names.length > 1 ? `  (public as ${names.map(printable).join(', ')})` : ''
  return `${printable(reference)}  ${shortDigest(digest)}  no longer published${known}`
}
