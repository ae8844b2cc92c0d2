import { join } from 'node:path'

/** Where a peer side keeps what it needs for its next start: the only folder of a data directory that is its own. */
export function peerSideFolder(dataDir: string): string {
  return join(dataDir, 'peer-side')
}

/** The same for the peer side that is open to everybody while something is published. */
export function publicSideFolder(dataDir: string): string {
  return join(dataDir, 'public', 'side')
}

/** Folders of the data directory that a peer side may use, besides the program itself. */
export interface PeerSideReach {
  readonly read: readonly string[]
  /** and read */
  readonly write: readonly string[]
}

/** What the peer side of a node needs: complete blobs, partial ones, and its own folder. */
export function reachOf(dataDir: string): PeerSideReach {
  return {
    read: [join(dataDir, 'blobs')],
    write: [join(dataDir, 'partial'), peerSideFolder(dataDir)],
  }
}

/** What the one that is open to everybody needs: what is published, and its own folder. */
export function publicReachOf(dataDir: string): PeerSideReach {
  return { read: [publishedFolder(dataDir)], write: [publicSideFolder(dataDir)] }
}

/** Where it may read published blobs; on the file system of the store. */
export function publishedFolder(dataDir: string): string {
  return join(dataDir, 'blobs', 'public')
}
