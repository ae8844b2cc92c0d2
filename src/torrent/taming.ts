import type { Torrent } from 'webtorrent'

import type { BlobDownload } from './blob-download.ts'

/** Every default of webtorrent is hostile to a transfer of a few seconds between neighbours. */
export const QUIET_CLIENT = {
  dht: false,
  tracker: false,
  lsd: false,
  utPex: false,
  natUpnp: false,
  natPmp: false,
  utp: false,
  webSeeds: false,
  secure: 0,
  torrentPort: { host: '127.0.0.1', port: 0 },
}

/** Turns off what a torrent does by itself, and lets the download decide instead. */
export function tame(torrent: Torrent, download: BlobDownload | undefined): void {
  torrent._startDiscovery = () => {
    torrent.discovery = { complete: () => {}, destroy: (onDone: () => void) => onDone() }
  }
  torrent._update = () => download?.schedule()
  torrent._updateWireInterest = () => {}
  torrent._updateInterest = () => {}
  torrent._rechoke = () => {}
  torrent._gcSelections = () => {}
  torrent._verifyPieces = (onDone) => onDone(null)
  torrent._debug = () => {}
}
