import { resolve } from 'node:path'

import type { SeedResult } from '../control/control-protocol.ts'
import { formatByteSize } from '../support/byte-size.ts'
import type { Command, ExitCode, Invocation } from './command.ts'
import { runningNode, withNodeOrOffline, withProgress } from './node-access.ts'
import { concludeInPart } from './partial-outcome.ts'
import { renderTable } from './table.ts'
import { shortDigest } from './wording.ts'

/** Shares images of the local engine. */
export const seed: Command = async (invocation) => {
  const request = { references: invocation.operands }
  return answer(invocation, await withProgress(invocation, runningNode(invocation).seed, request))
}

/** Shares everything that the local engine holds, with --watch also what it gets later. */
export const seedAll: Command = async (invocation) => {
  const request = { watch: invocation.flags['watch'] === true }
  return answer(
    invocation,
    await withProgress(invocation, runningNode(invocation).seedAll, request),
  )
}

/** Shares an image from an archive. */
export const importArchive: Command = async (invocation) => {
  const { operands, flags, host } = invocation
  // the node has another working directory
  const path = resolve(host.workingDir, operands[0] ?? '')
  const name = flags['name']
  const request = { path, ...(typeof name === 'string' && { name }) }
  const result = await withNodeOrOffline(invocation, (operations) =>
    withProgress(invocation, operations.import, request),
  )
  return answer(invocation, result)
}

function answer({ output }: Invocation, result: SeedResult): ExitCode {
  const { images, failed } = result
  output.answer(result, () => render(result))
  return concludeInPart(output, {
    what: 'image',
    total: images.length + failed.length,
    failures: failed.map(({ reference, error }) => ({ name: reference, error })),
  })
}

function render({ images, failed }: SeedResult): string {
  if (images.length === 0) return failed.length === 0 ? 'nothing to share' : ''
  return renderTable(
    [
      { title: 'image' },
      { title: 'digest' },
      { title: 'blobs', align: 'right' },
      { title: 'size', align: 'right' },
      { title: 'new', align: 'right' },
    ],
    images.map(({ reference, digest, blobs, size, newBytes }) => [
      reference,
      shortDigest(digest),
      String(blobs),
      formatByteSize(size),
      formatByteSize(newBytes),
    ]),
  )
}
