import type { TransferRecord } from '../catalog/transfer-records.ts'
import type { Digest } from '../oci/digest.ts'

/** Where the bytes of a blob came from. */
export interface SourceBytes {
  /** were here already */
  readonly store: number
  readonly peers: number
  readonly upstream: number
}

/** What a transfer waited for, in all, while nothing else could be done. */
export interface TransferWait {
  /** for peers that have it, for upstream to answer, for layers that are wanted first, for the SHA-256 and the disk */
  readonly what: 'peers' | 'upstream' | 'turn' | 'proof'
  readonly ms: number
}

/** What a blob transfer looks like from outside: one wide record, kept when it ends. */
export interface TransferSnapshot {
  readonly digest: Digest
  /** bytes */
  readonly size: number
  readonly bytes: SourceBytes
  /** from the request to the first verified byte; null before it */
  readonly firstByteMs: number | null
  readonly ms: number
  readonly state: 'waiting' | 'moving' | 'done' | 'failed'
  readonly startedAtMs: number
  readonly peers: readonly {
    readonly peer: string
    readonly nodeName?: string
    readonly bytes: number
  }[]
  readonly waits: readonly TransferWait[]
  /** registry that could be asked */
  readonly upstream?: string
  readonly code?: string
}

/** The record of a transfer that ended. */
export function recordOf(snapshot: TransferSnapshot): TransferRecord {
  const { state, ...rest } = snapshot
  return {
    ...rest,
    id: `${snapshot.startedAtMs}-${snapshot.digest}`,
    state: state === 'failed' ? 'failed' : 'done',
  }
}

export function addBytes(a: SourceBytes, b: SourceBytes): SourceBytes {
  return { store: a.store + b.store, peers: a.peers + b.peers, upstream: a.upstream + b.upstream }
}

export const NO_BYTES: SourceBytes = { store: 0, peers: 0, upstream: 0 }
