import { html, type Html } from './html.ts'
import type { ImageStatus, NodeStatus, PeerStatus, TransferStatus } from './node-status.ts'

/** What the page shows. */
export interface StatusView {
  readonly status: NodeStatus
  readonly images: readonly ImageStatus[]
  readonly peers: readonly PeerStatus[]
  readonly transfers: readonly TransferStatus[]
  readonly isReady: boolean
  readonly nowMs: number
}

/** Rows of one list; all of it is at `/api/v1/…`. */
export const MAX_ROWS = 50
const SHORT_ID_LENGTH = 12
const NUMBER_COLUMNS: ReadonlySet<string> = new Set([
  'Size',
  'Blobs',
  'Took',
  'Ended',
  'Had from it',
  'Given to it',
  'Seen',
])

/** A table that becomes a list on a phone: each cell but the first says its column in `data-label`. */
export function table(columns: readonly string[], rows: readonly Html[]): Html {
  return html`<table>
    <thead>
      <tr>
        ${columns.map(
          (column) => html`<th class="${NUMBER_COLUMNS.has(column) && 'number'}">${column}</th>`,
        )}
      </tr>
    </thead>
    <tbody>
      ${rows}
    </tbody>
  </table>`
}

/** Where the rows are that are not shown. */
export function beyond(count: number, list: string): Html | false {
  return (
    count > MAX_ROWS &&
    html`<p class="faint">
      and ${count - MAX_ROWS} more: <a href="/api/v1/${list}">all ${list}</a>
    </p>`
  )
}

/** As much of an id as tells nodes apart. */
export function shortId(id: string): string {
  return id.slice(0, SHORT_ID_LENGTH)
}

/** As much of a digest as tells blobs apart. */
export function shortDigest(digest: string): string {
  return digest.slice(0, 'sha256:'.length + SHORT_ID_LENGTH)
}

/** `now`, `12 m ago` */
export function formatAgo(ms: number): string {
  return ms < 1000 ? 'now' : `${formatAge(ms)} ago`
}

/** `40 s`, `12 m`, `3 h 5 m`, `2 d 4 h` */
export function formatAge(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  const hours = Math.floor(minutes / 60)
  const days = Math.floor(hours / 24)
  if (minutes === 0) return `${Math.max(0, Math.floor(ms / 1000))} s`
  if (hours === 0) return `${minutes} m`
  return days === 0 ? `${hours} h ${minutes % 60} m` : `${days} d ${hours % 24} h`
}
