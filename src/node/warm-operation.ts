import type { NodeOperations, WarmResult } from '../control/control-protocol.ts'
import { messageOf, OperationError } from '../errors.ts'
import { parseReference } from '../oci/reference.ts'
import type { PeerQuestions } from '../sandbox/peer-questions.ts'
import type { KnownPeer, PeerDirectory } from '../peering/peer-directory.ts'
import type { NodeHello, WarmOrder, WarmReport } from '../peering/peer-messages.ts'
import { mapConcurrently } from '../support/concurrency.ts'
import type { BlobReport, ImagePuller, PulledImage } from '../transfer/image-puller.ts'
import type { PeerFinder } from '../transfer/peer-finder.ts'
import { addBytes, NO_BYTES } from '../transfer/transfer-record.ts'
import {
  missingNode,
  peerTarget,
  runWarmJob,
  selectTargets,
  type WarmTarget,
} from '../warmup/warm-job.ts'
import type { EngineImages } from './engine-images.ts'

interface WarmRooms {
  readonly puller: ImagePuller
  readonly engine: EngineImages
  readonly finder: PeerFinder
  readonly directory: PeerDirectory
  readonly client: PeerQuestions
  readonly self: () => NodeHello
  readonly address: () => string
}

const REPORT_INTERVAL_MS = 500

/** Orders the members that are found, this node among them, to pull images. */
export function warmOperation(rooms: WarmRooms): NodeOperations['warm'] {
  return async (request, { signal, report }): Promise<WarmResult> => {
    const peers = await allMembers(rooms, signal)
    const targets = [
      ownTarget(rooms, request),
      ...peers.map((peer) => peerTarget(peer, request, rooms.client)),
    ]
    const { selected, missing } = selectTargets(targets, request.nodes)
    const nodes = await runWarmJob(selected, { parallel: request.parallel, signal, report })
    return { nodes: [...nodes, ...missing.map(missingNode)] }
  }
}

/** Strangers order nothing: everybody has the key of the public swarm. */
export async function* refuseWarmOrder(): AsyncIterable<WarmReport> {
  yield {
    state: 'failed',
    size: 0,
    done: 0,
    bytes: { store: 0, peers: 0, upstream: 0 },
    loaded: false,
    message: 'this node takes no orders',
  }
}

/** What a node does when a member orders a warm-up. @throws OperationError REQUEST_UNPROVEN */
export async function* obeyWarmOrder(
  order: WarmOrder,
  rooms: Pick<WarmRooms, 'puller' | 'engine' | 'self'>,
  signal: AbortSignal,
): AsyncIterable<WarmReport> {
  if (order.nodeId !== rooms.self().nodeId) {
    throw new OperationError('REQUEST_UNPROVEN', 'warm-up order: it is meant for another node')
  }
  yield* warmHere(order, rooms, signal)
}

/** Members that answer now, then those that did lately: one that stopped is named, not passed over. */
async function allMembers(
  { finder, directory }: WarmRooms,
  signal: AbortSignal,
): Promise<KnownPeer[]> {
  const members = new Map<string, KnownPeer>()
  for await (const peer of finder.members({ signal })) members.set(peer.nodeId, peer)
  for (const peer of directory.all()) if (!directory.isBanned(peer)) members.set(peer.nodeId, peer)
  return [...members.values()].sort((a, b) => (a.nodeName < b.nodeName ? -1 : 1))
}

function ownTarget(rooms: WarmRooms, request: Pick<WarmOrder, 'references' | 'load'>): WarmTarget {
  const { nodeId, nodeName } = rooms.self()
  return {
    nodeId,
    nodeName,
    address: rooms.address(),
    warm: (signal) => warmHere({ ...request, parallel: 3 }, rooms, signal),
  }
}

async function* warmHere(
  order: Pick<WarmOrder, 'references' | 'load' | 'parallel'>,
  { puller, engine }: Pick<WarmRooms, 'puller' | 'engine'>,
  signal: AbortSignal,
): AsyncIterable<WarmReport> {
  const blobs = new Map<string, BlobReport>()
  const work = pullAll(order, { puller, report: (event) => blobs.set(event.digest, event), signal })
  if (!(yield* reportsUntil(work, () => sumUp([...blobs.values()], 'moving')))) return
  // A node beside no engine holds the image for others: that is all it can do.
  const loads = order.load && (await engine.hasEngine())
  if (loads) {
    const loading = loadAll(await work, engine, signal)
    if (!(yield* reportsUntil(loading, () => sumUp([...blobs.values()], 'loading')))) return
  }
  yield { ...sumUp([...blobs.values()], 'done'), loaded: loads }
}

/** A report now and then until the work is over; a failure is the last report. @returns whether it went well */
async function* reportsUntil(
  work: Promise<unknown>,
  report: () => WarmReport,
): AsyncGenerator<WarmReport, boolean> {
  const ended = work.then(
    () => ({ failure: undefined }),
    (failure: unknown) => ({ failure }),
  )
  for (;;) {
    yield report()
    const tick = new Promise<undefined>((resolve) => {
      setTimeout(() => resolve(undefined), REPORT_INTERVAL_MS).unref()
    })
    const outcome = await Promise.race([ended, tick])
    if (!outcome) continue
    if (outcome.failure === undefined) return true
    yield { ...report(), state: 'failed', message: messageOf(outcome.failure) }
    return false
  }
}

function pullAll(
  { references, parallel }: Pick<WarmOrder, 'references' | 'parallel'>,
  {
    puller,
    report,
    signal,
  }: { puller: ImagePuller; report: (event: BlobReport) => void; signal: AbortSignal },
): Promise<{ text: string; image: PulledImage }[]> {
  return mapConcurrently(references, parallel, async (text) => ({
    text,
    image: await puller.pull(parseReference(text), { signal, report }),
  }))
}

async function loadAll(
  images: readonly { text: string; image: PulledImage }[],
  engine: EngineImages,
  signal: AbortSignal,
): Promise<void> {
  for (const { text, image } of images) await engine.load(image.root, parseReference(text), signal)
}

function sumUp(blobs: readonly BlobReport[], state: WarmReport['state']): WarmReport {
  return {
    state,
    size: blobs.reduce((sum, { size }) => sum + size, 0),
    done: blobs.reduce((sum, { done }) => sum + done, 0),
    bytes: blobs.map(({ bytes }) => bytes).reduce(addBytes, NO_BYTES),
    loaded: false,
  }
}
