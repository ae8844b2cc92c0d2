import { messageOf, systemCodeOf } from '../errors.ts'
import { PieceFile } from '../store/piece-file.ts'
import { endpointOf } from '../torrent/peer-exchange.ts'
import type { Culprit as WireCulprit } from '../torrent/peer-link.ts'
import type { DialedPeer } from '../torrent/connections.ts'
import type { TorrentDownload, TorrentEngine } from '../torrent/torrent-engine.ts'
import type { Culprit, DownloadOrder, NodeCalls } from './peer-side-protocol.ts'
import type { TrafficCount } from './traffic-count.ts'

interface HostedDownloadsOptions {
  readonly engine: TorrentEngine
  readonly traffic: TrafficCount
  readonly node: Pick<NodeCalls, 'note'>
}

interface HostedDownload {
  readonly download: TorrentDownload
  readonly file: PieceFile
}

const LOOK_AT_PEERS_EVERY_MS = 200

/** The downloads that the node has ordered, by its numbers. */
export class HostedDownloads implements Disposable {
  readonly #options: HostedDownloadsOptions
  readonly #downloads = new Map<number, HostedDownload>()
  readonly #lastPeers = new Map<number, string>()
  readonly #watch: NodeJS.Timeout

  constructor(options: HostedDownloadsOptions) {
    this.#options = options
    this.#watch = setInterval(() => this.#tellPeers(), LOOK_AT_PEERS_EVERY_MS)
    this.#watch.unref()
  }

  /** @throws the system's error where the file of the partial blob is not to be had */
  async open({ id, record, path, bitfield }: DownloadOrder): Promise<void> {
    const file = await PieceFile.open(path, { ...record, bitfield })
    const closeContent = async () => file[Symbol.asyncDispose]()
    try {
      const download = await this.#options.engine.download(
        { record: { ...record, pieces: Buffer.from(record.pieces) }, partial: file },
        { closeContent },
      )
      this.#downloads.set(id, { download, file })
      this.#report(id, download)
    } catch (error) {
      await closeContent()
      throw error
    }
  }

  dial(id: number, endpoint: DialedPeer): void {
    this.#downloads.get(id)?.download.dial(endpoint)
  }

  onForeignPiece(id: number, index: number): void {
    const hosted = this.#downloads.get(id)
    hosted?.file.onForeignPiece(index)
    hosted?.download.progress.onForeignPiece(index)
  }

  /** Nothing is written into its file any more when this returns. @param options.isKept goes on as a seed until idle */
  async close(id: number, { isKept }: { isKept: boolean }): Promise<void> {
    const hosted = this.#downloads.get(id)
    this.#downloads.delete(id)
    this.#lastPeers.delete(id)
    if (!hosted || (isKept && hosted.download.progress.isComplete)) return
    await hosted.download[Symbol.asyncDispose]()
  }

  [Symbol.dispose](): void {
    clearInterval(this.#watch)
  }

  #report(id: number, { progress }: TorrentDownload): void {
    const { node, traffic } = this.#options
    progress.on('piece', (index) => {
      // who sent it is known before it counts
      traffic.flush()
      node.note('piece', { id, index })
    })
    progress.on('badPiece', (culprit, index) => {
      node.note('badPiece', { id, index, culprit: culpritOf(culprit) })
      culprit.wire.destroy()
    })
    progress.on('refused', (culprit) => node.note('refused', { id, culprit: culpritOf(culprit) }))
    progress.once('failed', (error) =>
      node.note('failed', { id, code: systemCodeOf(error), message: messageOf(error) }),
    )
  }

  /** What decides how long the node waits for peers. */
  #tellPeers(): void {
    for (const [id, { download }] of this.#downloads) {
      const usable = download.progress.usablePeers
      const total = download.connectedPeers
      const known = `${usable} ${total}`
      if (this.#lastPeers.get(id) === known) continue
      this.#lastPeers.set(id, known)
      this.#options.node.note('connected', { id, usable, total })
    }
  }
}

function culpritOf({ wire, nodeId }: WireCulprit): Culprit {
  return { endpoint: endpointOf(wire), nodeId }
}
