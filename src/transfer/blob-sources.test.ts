import assert from 'node:assert/strict'
import { test } from 'node:test'

import { OperationError } from '../errors.ts'
import { digestOf } from '../oci/digest.ts'
import { BlobSources } from './blob-sources.ts'
import { BlobTransfer } from './blob-transfer.ts'

type Options = ConstructorParameters<typeof BlobSources>[0]

test('what upstream calls a manifest is not taken into memory beyond the size of one', async () => {
  let wasRead = false
  const sources = new BlobSources({
    isPublic: false,
    swarm: { hasPeers: false, fetchWhole: () => Promise.reject(unknown()) },
    upstream: {
      open: async () => ({
        size: 1e12,
        access: 'public',
        // oxlint-disable-next-line require-yield -- it is not to be asked for anything
        content: (async function* () {
          wasRead = true
        })(),
      }),
    },
  } as unknown as Options)
  const transfer = new BlobTransfer({ digest: digestOf(Buffer.of(1)), images: [] })
  const repository = { registry: 'registry.example', repository: 'a' }
  transfer.onRoute({ repository, identity: { kind: 'node' }, kind: 'manifest' })
  const fetching = sources.fetch(transfer, { siblings: [], signal: AbortSignal.timeout(5000) })
  await assert.rejects(fetching, { code: 'UPSTREAM_FAULTY' })
  assert.equal(wasRead, false)
})

function unknown(): OperationError {
  return new OperationError('BLOB_UNKNOWN', 'nobody has it')
}
