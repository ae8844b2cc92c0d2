import { isIP } from 'node:net'

import { OperationError } from '../errors.ts'
import type { PeerClient } from '../peering/peer-client.ts'
import { parseHeldBlobs, parseHello, parseRecordList } from '../peering/peer-messages.ts'
import type { PeerSideCalls } from './peer-side-protocol.ts'

/** Questions to peers; see {@link PeerClient}. */
export type PeerQuestions = Pick<
  PeerClient,
  'hello' | 'hangUp' | 'have' | 'references' | 'metainfo' | 'blob' | 'keys' | 'warm'
>

type Ask = <Result>(
  work: (calls: PeerSideCalls) => Promise<Result>,
  options: { signal?: AbortSignal | undefined },
) => Promise<Result>

/**
 * Questions that the peer side asks for the node. What comes back is parsed once more: the peer side talks to strangers,
 * and is trusted no more than it has to be.
 */
export function questionsOver(ask: Ask): PeerQuestions {
  return {
    async hello(peer, self, { signal, ...options } = {}) {
      const question = { peer, self, ...options }
      const hello = await ask((calls) => calls.call('hello', question, { signal }), { signal })
      const { reachedAt } = hello
      const isAddress = typeof reachedAt === 'string' && isIP(reachedAt) !== 0
      return { ...parseHello(hello), ...(isAddress && { reachedAt }) }
    },
    hangUp({ host, port }) {
      // One that has just ended has no connections left.
      ask(async (calls) => calls.note('hangUp', { host, port }), {}).catch(() => {})
    },
    async have(peer, digests, { signal, ...options } = {}) {
      const question = { peer, digests, ...options }
      const blobs = await ask((calls) => calls.call('have', question, { signal }), { signal })
      return parseHeldBlobs({ blobs })
    },
    async references(peer, names, { signal, ...options } = {}) {
      const question = { peer, names, ...options }
      const records = await ask((calls) => calls.call('references', question, { signal }), {
        signal,
      })
      return parseRecordList({ records })
    },
    async metainfo(peer, digest, { signal, ...options } = {}) {
      const question = { peer, digest, ...options }
      const bytes = await ask((calls) => calls.call('metainfo', question, { signal }), { signal })
      return bytes && bufferOf(bytes)
    },
    async blob(peer, digest, { signal, ...options } = {}) {
      const question = { peer, digest, ...options }
      const bytes = await ask((calls) => calls.call('blob', question, { signal }), { signal })
      return bytes && once(bufferOf(bytes))
    },
    async keys(peer, orders, { signal, ...options } = {}) {
      const question = { peer, orders, ...options }
      return ask((calls) => calls.call('keys', question, { signal }), { signal })
    },
    async *warm(peer, order, { signal } = {}) {
      const calls = await ask(async (open) => open, { signal })
      yield* calls.stream('warm', { peer, order }, { signal })
    },
  }
}

function bufferOf(bytes: unknown): Buffer {
  if (bytes instanceof Uint8Array) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  throw new OperationError('MESSAGE_INVALID', 'answer of a peer: wanted bytes')
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
