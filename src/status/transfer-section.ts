import { formatByteSize } from '../support/byte-size.ts'
import { formatDurationMs } from '../support/duration.ts'
import { html, type Html } from './html.ts'
import type { TransferStatus } from './node-status.ts'
import { beyond, formatAgo, MAX_ROWS, shortDigest, table, type StatusView } from './page-parts.ts'

const MAX_ENDED_TRANSFERS = 8
const SOURCES = ['store', 'peers', 'upstream'] as const

/** What moves now and where from, and what came lately. */
export function movingSection({ transfers, nowMs }: StatusView): Html {
  const isEnded = ({ state }: TransferStatus) => state === 'done' || state === 'failed'
  const underWay = transfers.filter((transfer) => !isEnded(transfer))
  const ended = transfers.filter(isEnded).slice(0, MAX_ENDED_TRANSFERS)
  return html`<h2>What moves now ${transfers.length > 0 && sourceKey()}</h2>
    ${
      underWay.length === 0
        ? html`<p class="empty">Nothing.</p>`
        : html`<ul>
            ${underWay.slice(0, MAX_ROWS).map(transferEntry)}
          </ul>`
    }
    ${beyond(underWay.length, 'transfers')}
    ${
      ended.length > 0 &&
      html`<h2>What came lately</h2>
        ${table(
          ['Blob', 'Size', 'From', 'Took', 'Ended'],
          ended.map((transfer) => endedRow(transfer, nowMs)),
        )}`
    }`
}

function transferEntry(transfer: TransferStatus): Html {
  const { digest, size, bytes, ms, state, peers } = transfer
  const here = SOURCES.reduce((sum, source) => sum + bytes[source], 0)
  const percent = size === 0 ? 0 : Math.min(100, Math.floor((here / size) * 100))
  return html`<li>
    <div class="row">
      <code title="${digest}">${shortDigest(digest)}</code>
      <span>${state === 'waiting' ? 'waiting' : html`${percent} %`}</span>
    </div>
    ${progressBar({ bytes, size, percent })}
    <div class="row faint">
      <span>${formatByteSize(here)} of ${formatByteSize(size)}</span>
      <span>${peerNames(peers)}</span>
      <span>${formatDurationMs(ms)}</span>
    </div>
  </li>`
}

/** Drawn with attributes, since the page policy forbids style attributes. */
function progressBar({
  bytes,
  size,
  percent,
}: Pick<TransferStatus, 'bytes' | 'size'> & { percent: number }): Html {
  let start = 0
  const bars = SOURCES.map((source) => {
    const width = size === 0 ? 0 : (bytes[source] / size) * 100
    const bar = html`<rect
      class="fill-${source}"
      x="${start.toFixed(2)}"
      width="${width.toFixed(2)}"
      height="1"
    />`
    start += width
    return bar
  })
  return html`<svg
    viewBox="0 0 100 1"
    preserveAspectRatio="none"
    role="progressbar"
    aria-valuenow="${percent}"
  >
    ${bars}
  </svg>`
}

function endedRow(transfer: TransferStatus, nowMs: number): Html {
  const { digest, size, bytes, ms, state, startedAtMs, code } = transfer
  const from = SOURCES.filter((source) => bytes[source] > 0)
  return html`<tr>
    <td><code title="${digest}">${shortDigest(digest)}</code></td>
    <td data-label="Size" class="number">${formatByteSize(size)}</td>
    <td data-label="From" class="wide">
      ${
        state === 'failed'
          ? html`<span class="bad">failed ${code}</span>`
          : html`<span>
              ${from.map(
                (source) =>
                  html`<span class="key key-${source}">${formatByteSize(bytes[source])}</span> `,
              )}
            </span>`
      }
    </td>
    <td data-label="Took" class="number">${formatDurationMs(ms)}</td>
    <td data-label="Ended" class="number">${formatAgo(nowMs - startedAtMs - ms)}</td>
  </tr>`
}

function sourceKey(): Html {
  return html`<small>
    <span class="key key-peers">peers</span>
    <span class="key key-upstream">upstream</span>
    <span class="key key-store">here already</span>
  </small>`
}

function peerNames(peers: TransferStatus['peers']): string {
  const [first, second, ...more] = [...peers]
    .sort((a, b) => b.bytes - a.bytes)
    .map(({ nodeName, peer }) => nodeName ?? peer)
  if (first === undefined) return ''
  const named = second === undefined ? first : `${first}, ${second}`
  return more.length === 0 ? `from ${named}` : `from ${named} and ${more.length} more`
}
