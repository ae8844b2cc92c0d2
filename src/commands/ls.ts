import type { ImageStatus } from '../status/node-status.ts'
import { formatByteSize } from '../support/byte-size.ts'
import type { Command } from './command.ts'
import { runningNode, withoutProgress } from './node-access.ts'
import { renderTable } from './table.ts'
import { shortDigest } from './wording.ts'

/** Lists the images that this node holds, a row for every name. */
export const ls: Command = async (invocation) => {
  const result = await withoutProgress(invocation, runningNode(invocation).list, {})
  invocation.output.answer(result, () => render(result.images as readonly ImageStatus[]))
  return 0
}

function render(images: readonly ImageStatus[]): string {
  const rows = images.flatMap(({ names, digest, blobs, size, complete, published }) =>
    (names.length === 0 ? ['<none>'] : names).map((name) => [
      name,
      shortDigest(digest),
      String(blobs),
      formatByteSize(size),
      `${complete ? 'complete' : 'partial'}${published ? ', public' : ''}`,
    ]),
  )
  return renderTable(
    [
      { title: 'image' },
      { title: 'digest' },
      { title: 'blobs', align: 'right' },
      { title: 'size', align: 'right' },
      { title: 'state' },
    ],
    rows,
  )
}
