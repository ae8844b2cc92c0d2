import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'

import {
  sampleImage,
  samplePeer,
  sampleStatus,
  sampleTransfer,
} from '../testing/memory-status-source.ts'
import type { StatusView } from './page-parts.ts'
import { renderStatusPage, STATUS_PAGE_POLICY } from './status-page.ts'

const NOW_MS = 1_700_000_060_000
const MIB = 2 ** 20

const render = (given: Partial<StatusView> = {}) =>
  renderStatusPage({
    status: sampleStatus(),
    images: [],
    peers: [],
    transfers: [],
    isReady: true,
    nowMs: NOW_MS,
    ...given,
  })

/** What a person reads, without tags and with single spaces. */
const textOf = (page: string) =>
  page
    .replace(/<style>[^]*<\/style>|<script>[^]*<\/script>/g, '')
    .replace(/<[^>]*>/g, ' ')
    .replaceAll(/&#(\d+);/g, (_match, code) => String.fromCharCode(Number(code)))
    .replace(/\s+/g, ' ')

test('says what to do first on a node that has nothing', () => {
  const text = textOf(render())
  assert.match(text, /desk ready node abababababab in the closed swarm cdcdcdcdcdcd/)
  assert.match(text, /ddocker 0\.1\.0 · up 3 h 2 m/)
  assert.match(text, /What failed last Nothing that this node knows of\./)
  assert.match(text, /What moves now Nothing\./)
  assert.match(text, /Nobody yet\. On another host: ddocker swarm join/)
  assert.match(text, /No image yet\. ddocker seed-all/)
  assert.doesNotMatch(text, /undefined|null|NaN|\[object/)
})

test('says what everybody may have, and when they cannot', () => {
  const published = { nodeId: 'ef'.repeat(32), nodeName: 'public-efefefef', images: 1, dhtNodes: 3 }
  const images = [sampleImage({ name: 'app:1', published: true }), sampleImage({ name: 'mine:1' })]
  const open = textOf(
    render({ images, status: sampleStatus({ published: { ...published, port: 6882 } }) }),
  )
  assert.match(open, /Public 1 for everybody, on port 6882/)
  assert.match(open, /app:1 public/)
  assert.doesNotMatch(open, /mine:1 public/)
  const problem = 'the port is taken'
  const closed = textOf(render({ status: sampleStatus({ published: { ...published, problem } }) }))
  assert.match(closed, /Public 1 for everybody, the port is taken/)
  assert.doesNotMatch(textOf(render()), /for everybody/)
})

test('answers what is held, who is there, what moves, and what failed with what to do', () => {
  const text = textOf(
    render({
      isReady: false,
      status: sampleStatus({
        engine: { version: '29.7.2', store: 'containerd', driver: 'overlayfs', host: 'unix:///x' },
        lastFailures: [
          {
            atMs: NOW_MS - 120_000,
            code: 'DISK_FULL',
            message: 'wanted 5 bytes, found none',
            hint: 'Free space.',
            reference: 'app:1',
          },
        ],
        bannedPeers: [samplePeer({ state: 'banned', nodeName: 'rogue', reason: 'bad pieces' })],
      }),
      images: [
        sampleImage(),
        sampleImage({ name: 'half:1', names: ['half:1', 'h:2'], complete: false }),
      ],
      peers: [samplePeer()],
      transfers: [
        sampleTransfer({
          state: 'moving',
          bytes: { store: 0, peers: 16 * MIB, upstream: 16 * MIB },
          peers: [
            { peer: '10.0.0.7:6881', nodeName: 'shelf', bytes: 10 * MIB },
            { peer: '10.0.0.8:6881', bytes: 6 * MIB },
            { peer: '10.0.0.9:6881', bytes: 1 },
          ],
        }),
        sampleTransfer({ state: 'failed', code: 'TRANSFER_STALLED' }),
      ],
    }),
  )
  assert.match(text, /desk starting/)
  assert.match(text, /Docker 29\.7\.2 containerd store/)
  assert.match(text, /DISK_FULL app:1 2 m ago wanted 5 bytes, found none Free space\./)
  assert.match(text, /Banned peer rogue 10\.0\.0\.7:6881 bad pieces/)
  assert.match(text, /50 % 32\.0 MiB of 64\.0 MiB from shelf, 10\.0\.0\.8:6881 and 1 more 1\.5 s/)
  assert.match(text, /failed TRANSFER_STALLED/)
  assert.match(text, /shelf efefefefefef · 0\.1\.0 10\.0\.0\.7:6881 10\.0 MiB 3\.0 MiB 1 m ago/)
  assert.match(text, /app:1 sha256:[0-9a-f]{12} 30\.0 MiB 4 whole/)
  assert.match(text, /half:1 h:2 .* in part/)
})

test('shows a bounded number of rows, and where the rest is', () => {
  const page = render({
    images: Array.from({ length: 60 }, (_, index) => sampleImage({ name: `app:${index}` })),
  })
  assert.match(textOf(page), /and 10 more: all images/)
  assert.equal(page.match(/data-label="Blobs"/g)?.length, 50)
})

test('escapes every value that comes from elsewhere', () => {
  const evil = '<img src=x onerror=alert(1)>"\'`&'
  const page = render({
    status: sampleStatus({
      nodeName: evil,
      version: evil,
      registry: evil,
      engine: { version: evil, store: 'containerd', driver: evil, host: evil },
      lastFailures: [{ atMs: 0, code: evil, message: evil, hint: evil, reference: evil }],
      bannedPeers: [samplePeer({ nodeName: evil, address: evil, reason: evil })],
    }),
    images: [sampleImage({ name: evil, names: [evil, `${evil}2`], digest: evil })],
    peers: [samplePeer({ nodeId: evil, nodeName: evil, address: evil, version: evil })],
    transfers: [
      sampleTransfer({ digest: evil, peers: [{ peer: evil, nodeName: evil, bytes: 1 }] }),
      sampleTransfer({ digest: evil, state: 'failed', code: evil }),
    ],
  })
  assert.doesNotMatch(page, /<img/)
  assert.ok(textOf(page).split('<img').length > 15)
})

test('loads nothing from elsewhere, and allows nothing but its own style and script', () => {
  const page = render()
  assert.doesNotMatch(page, /(?:src|href|action)="(?!\/|data:,)/)
  assert.doesNotMatch(page, /@import|url\(|style="/)
  for (const [tag, directive] of [
    ['style', 'style-src'],
    ['script', 'script-src'],
  ] as const) {
    const [, source] = new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(page) ?? []
    const hash = createHash('sha256')
      .update(source ?? '')
      .digest('base64')
    assert.ok(STATUS_PAGE_POLICY.includes(`${directive} 'sha256-${hash}'`), directive)
  }
  assert.match(STATUS_PAGE_POLICY, /^default-src 'none'; /)
  assert.match(STATUS_PAGE_POLICY, /frame-ancestors 'none'/)
})
