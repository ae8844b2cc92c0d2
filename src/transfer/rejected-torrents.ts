import type { TorrentRecord } from '../catalog/torrent-records.ts'

/** Whether a torrent is known to carry other content than its digest says. */
export class RejectedTorrents {
  readonly #rejected = new Set<string>()

  add({ digest, infoHash }: TorrentRecord): void {
    this.#rejected.add(`${digest} ${infoHash}`)
  }

  has({ digest, infoHash }: TorrentRecord): boolean {
    return this.#rejected.has(`${digest} ${infoHash}`)
  }
}
