/**
 * What commands and their node say to each other, over HTTP on `<data-dir>/control.sock`.
 *
 *   POST /v1/<operation>   body: the request, JSON
 *   200  application/x-ndjson, one JSON object a line:
 *        ProgressEvent …   any number, newest state wins: a slow reader misses states, never the last one
 *        {"type":"alive"}  every few seconds, so that silence means that the node hangs
 *        {"type":"result","result":…}  or  {"type":"error","error":{code,message,hint,details}}   ends it
 *
 * Whoever goes away before the end aborts the operation.
 */

/** Bytes that came from this node's own store, from peers, and from upstream. */
export interface BytesBySource {
  readonly store: number
  readonly peers: number
  readonly upstream: number
}

/** How an image fares as a whole. */
export interface ImageProgress {
  readonly type: 'image'
  readonly reference: string
  readonly digest?: string
  readonly state: 'resolving' | 'moving' | 'loading' | 'done' | 'failed'
  readonly message?: string
}

/** How one blob of an image fares. */
export interface BlobProgress {
  readonly type: 'blob'
  readonly reference: string
  readonly digest: string
  /** what the image uses it for: `layer`, `config`, `manifest` */
  readonly role: string
  /** bytes */
  readonly size: number
  /** bytes that are here and verified */
  readonly done: number
  readonly bytes: BytesBySource
  /** `kept`: it was here before */
  readonly state: 'waiting' | 'moving' | 'done' | 'kept' | 'failed'
}

/** How one node of a warm-up fares. */
export interface NodeProgress {
  readonly type: 'node'
  readonly nodeName: string
  readonly nodeId: string
  /** host:port of its peer port */
  readonly address: string
  readonly state: 'asked' | 'moving' | 'loading' | 'done' | 'failed'
  /** bytes of all images together */
  readonly size: number
  readonly done: number
  readonly bytes: BytesBySource
  readonly message?: string
}

export type ProgressEvent = ImageProgress | BlobProgress | NodeProgress

/** An OperationError as it crosses the socket and as `--json` prints it. */
export interface ErrorBody {
  readonly code: string
  readonly message: string
  readonly hint: string
  readonly details: Readonly<Record<string, unknown>>
}

/** A line of an answer. */
export type ControlLine =
  | ProgressEvent
  | { readonly type: 'alive' }
  | { readonly type: 'result'; readonly result: unknown }
  | { readonly type: 'error'; readonly error: ErrorBody }

/** What an invite is to be; with nothing of it, it carries the swarm key and never ends. */
export interface InviteRequest {
  /** how long it is honoured */
  readonly lifetimeMs?: number
  /** by one node only */
  readonly once?: boolean
  /** where this node is reached, `host:port`; by default at the addresses of this host */
  readonly addresses?: readonly string[]
}

export interface InviteResult {
  readonly invite: string
  readonly expiresAtMs?: number
  readonly once?: boolean
  readonly addresses?: readonly string[]
}

/** How a change of the swarm's key went: it counts at this node, and members are told. */
export interface KeyChangeResult {
  readonly swarmId: string
  readonly previousSwarmId: string
  /** how long the key before is taken from everybody */
  readonly overlapMs: number
  /** who is shut out */
  readonly revoked: readonly { readonly nodeId: string; readonly nodeName?: string }[]
  readonly reached: readonly ToldMember[]
  /** they are told when they are met */
  readonly notReached: readonly ToldMember[]
}

/** A member, and where it was last. */
export interface ToldMember {
  readonly nodeId: string
  readonly nodeName: string
  readonly host: string
  readonly port: number
}

export interface SeedResult {
  readonly images: readonly {
    readonly reference: string
    readonly digest: string
    /** bytes of all blobs */
    readonly size: number
    /** how many */
    readonly blobs: number
    /** bytes that were not in the store before */
    readonly newBytes: number
  }[]
  readonly failed: readonly { readonly reference: string; readonly error: ErrorBody }[]
}

export interface PullResult {
  readonly reference: string
  readonly digest: string
  readonly size: number
  readonly bytes: BytesBySource
  readonly ms: number
  readonly loaded: boolean
  /** what the engine calls it now */
  readonly engineReference?: string
}

export interface WarmResult {
  readonly nodes: readonly {
    readonly nodeName: string
    readonly nodeId: string
    readonly address: string
    readonly state: 'done' | 'failed'
    readonly size: number
    readonly bytes: BytesBySource
    readonly loaded: boolean
    readonly ms: number
    readonly error?: ErrorBody
  }[]
}

export interface TorrentResult {
  readonly torrents: readonly {
    readonly reference: string
    readonly digest: string
    readonly size: number
    /** 40 hex digits */
    readonly infoHash: string
    readonly magnet: string
    /** a .torrent file, base64 */
    readonly metainfo: string
  }[]
}

/** What to share with everybody. */
export interface PublishRequest {
  readonly references: readonly string[]
  /** it is the user's own to share: no registry is asked */
  readonly own: boolean
  /** whether the answer is to have .torrent files in it */
  readonly metainfo: boolean
  /** where this node is reached from outside, `host` or `host:port`, for the links; left out of them without it */
  readonly address?: string
}

/** An image that is public. */
export interface PublishedImage {
  readonly reference: string
  readonly digest: string
  readonly own: boolean
  readonly blobs: readonly {
    readonly digest: string
    readonly role: 'config' | 'layer'
    /** bytes */
    readonly size: number
    /** 40 hex digits */
    readonly infoHash: string
    readonly magnet: string
    /** a .torrent file, base64; where it was asked for */
    readonly metainfo?: string
  }[]
  /** configs and layers that are not here, and so not public */
  readonly absentBlobs: number
  /** of an image index: how many of its manifests are here, and how many it lists */
  readonly manifests?: { readonly held: number; readonly listed: number }
}

export interface PublishResult {
  /** `closed`: they are public from now on; `public`: they were already, as all in that swarm */
  readonly swarm: 'closed' | 'public'
  readonly images: readonly PublishedImage[]
  readonly failed: readonly { readonly reference: string; readonly error: ErrorBody }[]
  /** who this node is to everybody; left out where nothing is published */
  readonly publicNode?: {
    readonly nodeId: string
    readonly nodeName: string
    readonly port: number
  }
  /** nothing was published here before */
  readonly isFirst: boolean
}

export interface UnpublishResult {
  readonly images: readonly {
    readonly reference: string
    readonly digest: string
    /** the names that it was public under */
    readonly names: readonly string[]
  }[]
  readonly failed: readonly { readonly reference: string; readonly error: ErrorBody }[]
  /** how many images are still public */
  readonly left: number
}

/** How one blob of an image came here at the last pull. */
export interface ExplainedBlob {
  readonly digest: string
  readonly role: string
  /** bytes */
  readonly size: number
  /** `kept`: it was here before; `absent`: it is not here */
  readonly state: 'waiting' | 'moving' | 'done' | 'failed' | 'kept' | 'absent'
  readonly bytes: BytesBySource
  /** from the request to the first verified byte; null where nothing moved */
  readonly firstByteMs: number | null
  readonly ms: number | null
  /** who sent how many bytes */
  readonly peers: readonly {
    readonly peer: string
    readonly nodeName?: string
    readonly bytes: number
  }[]
  /** registry that could be asked */
  readonly upstream?: string
  /** what nothing could be done without: `peers`, `upstream`, `turn` (of lower layers), `proof` */
  readonly waits: readonly { readonly what: string; readonly ms: number }[]
  /** of a failure */
  readonly code?: string
}

/** How an image came here. */
export interface ExplainResult {
  readonly reference: string
  readonly digest: string
  /** of the last pull; left out where there was none */
  readonly startedAtMs?: number
  readonly blobs: readonly ExplainedBlob[]
  readonly bytes: BytesBySource
}

interface OperationOptions {
  /** fires when the client goes away or the node stops */
  readonly signal: AbortSignal
  /** Tells the client how it goes; as often as you like, it is thinned out on the way. */
  readonly report: (event: ProgressEvent) => void
}

/** Something a node does for a command. Errors that people can act on are OperationErrors. */
export type Operation<Request, Result> = (
  request: Request,
  options: OperationOptions,
) => Promise<Result>

type Nothing = Readonly<Record<string, never>>

/**
 * All that commands may ask of a node. The node implements it, the client has the same shape. The lists hold what
 * `/api/v1/…` shows (status/node-status.ts; a room beside this one, so its types cannot be named here).
 */
export interface NodeOperations {
  readonly seed: Operation<{ readonly references: readonly string[] }, SeedResult>
  /** with `watch` it goes on with what the engine gets later, until it is aborted */
  readonly seedAll: Operation<{ readonly watch: boolean }, SeedResult>
  /** `path` is absolute, `name` the reference for an archive that has none */
  readonly import: Operation<{ readonly path: string; readonly name?: string }, SeedResult>
  readonly pull: Operation<{ readonly reference: string; readonly load: boolean }, PullResult>
  /** on all nodes found, or on those named; `parallel` nodes at once */
  readonly warm: Operation<
    {
      readonly references: readonly string[]
      readonly nodes?: readonly string[]
      readonly load: boolean
      readonly parallel: number
    },
    WarmResult
  >
  readonly torrent: Operation<{ readonly references: readonly string[] }, TorrentResult>
  readonly publish: Operation<PublishRequest, PublishResult>
  readonly unpublish: Operation<{ readonly references: readonly string[] }, UnpublishResult>
  readonly explain: Operation<{ readonly reference: string }, ExplainResult>
  readonly list: Operation<Nothing, { readonly images: readonly object[] }>
  readonly status: Operation<Nothing, object>
  readonly peers: Operation<Nothing, { readonly peers: readonly object[] }>
  readonly swarmId: Operation<Nothing, { readonly swarmId: string }>
  readonly swarmInvite: Operation<InviteRequest, InviteResult>
  /** gives the swarm another key; the one before is good for `overlapMs` more */
  readonly swarmRotate: Operation<{ readonly overlapMs: number }, KeyChangeResult>
  /** gives the swarm another key, and keeps it from these: names, or beginnings of node ids */
  readonly swarmRevoke: Operation<{ readonly nodes: readonly string[] }, KeyChangeResult>
  readonly verify?: Operation<Nothing, object>
  readonly gc?: Operation<{ readonly dryRun: boolean }, object>
}

export type OperationName = keyof NodeOperations

/** The longest request, bytes: some thousand references. */
export const MAX_REQUEST_BYTES = 1024 * 1024
/** The longest line of an answer, bytes: the metainfo of a few hundred large images. */
export const MAX_LINE_BYTES = 256 * 1024 * 1024
/** How often a node says that it is alive. */
export const ALIVE_INTERVAL_MS = 5000
/** How long a client waits for a word. */
export const MAX_SILENCE_MS = 60_000
