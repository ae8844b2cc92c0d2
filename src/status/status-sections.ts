import { formatByteSize } from '../support/byte-size.ts'
import { html, type Html } from './html.ts'
import type {
  EngineStatus,
  FailureStatus,
  ImageStatus,
  NodeStatus,
  PeerStatus,
} from './node-status.ts'
import {
  beyond,
  formatAge,
  formatAgo,
  MAX_ROWS,
  shortDigest,
  shortId,
  table,
  type StatusView,
} from './page-parts.ts'

const MAX_FAILURES = 5

/** Who this node is, and whether it is ready. */
export function headingSection({ status, isReady }: StatusView): Html {
  const { nodeName, nodeId, swarm, swarmId, version, uptimeMs } = status
  return html`<header>
      <h1>${nodeName}</h1>
      ${
        isReady
          ? html`<span class="badge good">ready</span>`
          : html`<span class="badge warm">starting</span>`
      }
    </header>
    <p class="faint">
      node ${shortId(nodeId)} in the ${swarm} swarm ${shortId(swarmId)} · ddocker ${version} · up
      ${formatAge(uptimeMs)}
    </p>`
}

/** The numbers that matter, at one glance. */
export function factsSection(status: NodeStatus): Html {
  const { blobs, images, peers, dhtNodes, moving, registry, peerPort, memoryBytes } = status
  const facts: [name: string, value: string | number, more: string][] = [
    ['Images', images, `${blobs.count} blobs, ${formatByteSize(blobs.bytes)}`],
    ['Peers', peers, `${dhtNodes} nodes in the DHT`],
    ['Moving', moving, moving === 1 ? 'transfer' : 'transfers'],
    ['Registry', registry, `peer port ${peerPort}`],
    ['Engine', ...engineFact(status.engine)],
    ['Memory', formatByteSize(memoryBytes), 'of this node'],
    ...publishedFact(status.published),
  ]
  return html`<dl>
    ${facts.map(
      ([name, value, more]) =>
        html`<div>
          <dt>${name}</dt>
          <dd>${value} <small>${more}</small></dd>
        </div>`,
    )}
  </dl>`
}

/** What failed last, and what to do about it. */
export function failuresSection({ status, nowMs }: StatusView): Html {
  const failures = status.lastFailures.slice(0, MAX_FAILURES)
  const banned = status.bannedPeers.slice(0, MAX_FAILURES)
  const isQuiet = failures.length === 0 && banned.length === 0
  return html`<h2>What failed last</h2>
    ${
      isQuiet
        ? html`<p class="empty">Nothing that this node knows of.</p>`
        : html`<ul>
            ${failures.map((failure) => failureEntry(failure, nowMs))}
            ${banned.map((peer) => bannedEntry(peer))}
          </ul>`
    }`
}

/** The other nodes of the swarm. */
export function peersSection({ peers, nowMs }: StatusView): Html {
  return html`<h2>Who my peers are</h2>
    ${
      peers.length === 0
        ? html`<p class="empty">
            Nobody yet. On another host: <code>ddocker swarm join</code> with what
            <code>ddocker swarm invite</code> prints here.
          </p>`
        : table(
            ['Node', 'Address', 'Had from it', 'Given to it', 'Seen'],
            peers.slice(0, MAX_ROWS).map((peer) => peerRow(peer, nowMs)),
          )
    }
    ${beyond(peers.length, 'peers')}`
}

/** The images on this node. */
export function imagesSection({ images }: StatusView): Html {
  return html`<h2>What I hold</h2>
    ${
      images.length === 0
        ? html`<p class="empty">
            No image yet. <code>ddocker seed-all</code> shares what the engine on this host has.
          </p>`
        : table(['Image', 'Size', 'Blobs', 'Here'], images.slice(0, MAX_ROWS).map(imageRow))
    }
    ${beyond(images.length, 'images')}`
}

function failureEntry({ atMs, code, message, hint, ...what }: FailureStatus, nowMs: number): Html {
  const subject = what.reference ?? (what.digest === undefined ? '' : shortDigest(what.digest))
  return html`<li class="failure">
    <div class="row">
      <span><b class="mono bad">${code}</b> ${subject}</span>
      <span class="faint">${formatAgo(nowMs - atMs)}</span>
    </div>
    <p>${message}</p>
    <p><b>${hint}</b></p>
  </li>`
}

function bannedEntry({ nodeName, address, reason, badPieces }: PeerStatus): Html {
  return html`<li class="failure">
    <div class="row">
      <span><b class="bad">Banned peer</b> ${nodeName}</span>
      <span class="faint mono">${address}</span>
    </div>
    <p>${reason ?? 'It sent what was not asked for.'} Bad pieces: ${badPieces}.</p>
    <p><b>Look after that host: its disk or memory may be faulty.</b></p>
  </li>`
}

function peerRow(peer: PeerStatus, nowMs: number): Html {
  const { nodeId, nodeName, address, version, state, seenAtMs, bytes } = peer
  return html`<tr>
    <td>
      ${nodeName} <span class="faint">${shortId(nodeId)} · ${version}</span>
      ${state === 'banned' && html`<span class="badge bad">banned</span>`}
    </td>
    <td data-label="Address" class="wide mono">${address}</td>
    <td data-label="Had from it" class="number">${formatByteSize(bytes.from)}</td>
    <td data-label="Given to it" class="number">${formatByteSize(bytes.to)}</td>
    <td data-label="Seen" class="number">${formatAgo(nowMs - seenAtMs)}</td>
  </tr>`
}

function imageRow({ name, names, digest, size, blobs, complete, published }: ImageStatus): Html {
  const others = names.filter((other) => other !== name)
  return html`<tr>
    <td>
      ${name ?? names[0] ?? html`<span class="faint">no name</span>`}
      ${published === true && html`<span class="badge warm">public</span>`}
      <div class="faint">${others.join(', ')}</div>
      <code class="faint" title="${digest}">${shortDigest(digest)}</code>
    </td>
    <td data-label="Size" class="number">${formatByteSize(size)}</td>
    <td data-label="Blobs" class="number">${blobs}</td>
    <td data-label="Here">
      ${complete ? html`<span class="good">whole</span>` : html`<span class="warm">in part</span>`}
    </td>
  </tr>`
}

function publishedFact(
  published: NodeStatus['published'],
): [name: string, value: number, more: string][] {
  if (!published) return []
  const { images, port, problem } = published
  const where = port === undefined ? (problem ?? 'its port is not open') : `on port ${port}`
  return [['Public', images, `for everybody, ${where}`]]
}

function engineFact(engine: EngineStatus | null): [value: string, more: string] {
  return engine ? [`Docker ${engine.version}`, `${engine.store} store`] : ['none', 'works without']
}
