import { join } from 'node:path'

/** Where a peer side keeps what it needs for its next start: the only folder of a data directory that is its own. */
export function peerSideFolder(dataDir: string): string {
  return join(dataDir, 'peer-side')
}
