/**
 * How much of a node's memory each of many members can take that do what they like: the growth of both of its
 * processes, all that is resident and whatever it is for, by the number of members.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'

import type { SwarmKey } from './membership/swarm-key.ts'
import { GreedyMember, type Greed, type GreedTarget } from './testing/greedy-member.ts'
import { startDdockerNode, type DdockerNode } from './testing/lab/ddocker-node.ts'
import { memoryOf } from './testing/process-tree.ts'
import { tempDir } from './testing/temp-dir.ts'
import { writeLayout } from './testing/testnet.ts'
import { hashPieces, makeTorrent } from './torrent/metainfo.ts'

const MIB = 1024 * 1024
const MAX_BYTES_PER_PEER = 4 * MIB
const SMALL_BYTES = MIB - 1000
const LARGE_BYTES = [48 * MIB, ...Array.from({ length: 31 }, () => 1.5 * MIB)]
const WATCH_MS = 50
// Until the last of them has what it can get.
const SETTLE_MS = 2000

type Crowd = readonly [name: string, members: number, greeds: readonly Greed[]]

const CROWDS: readonly Crowd[] = [
  ...(
    [
      'nothing',
      'blocks',
      'metadata',
      'half message',
      'bitfield',
      'handshake',
      'whole blobs',
      'half question',
    ] as const
  ).map((greed): Crowd => [`${greed}, on one connection`, 64, [greed]]),
  [
    'all that is allowed, and a question of each kind',
    64,
    ['all that is allowed', 'whole blob', 'half question'],
  ],
]

for (const [name, count, greeds] of CROWDS) {
  test(`${count} members cost at most 4 MiB each: ${name}`, async (t) => {
    await using dir = await tempDir()
    const swarmKey = randomBytes(32) as SwarmKey
    await using node = await startDdockerNode({
      discovery: 'none',
      swarmKey: swarmKey.toString('hex'),
    })
    const target = await fill(node, { dir: dir.path, swarmKey })
    await warmUp(target)
    const before = memoryOf(node.pid)
    using members = new DisposableStack()
    const crowd = Array.from({ length: count }, () => members.use(new GreedyMember(target)))
    const most = await peakWhile(node, async () => {
      for (const greed of greeds) for (const member of crowd) await member.connect(greed)
      await setTimeout(SETTLE_MS)
    })
    tell(t, { before, most, crowd })
    const perPeer = (most - before) / count
    assert.ok(perPeer <= MAX_BYTES_PER_PEER, `${(perPeer / MIB).toFixed(2)} MiB per peer`)
    assert.equal((await node.get('/healthz')).status, 200)
  })
}

/** A node that holds an image. */
async function fill(
  node: DdockerNode,
  { dir, swarmKey }: { dir: string; swarmKey: SwarmKey },
): Promise<GreedTarget> {
  const image = await writeLayout(join(dir, 'image'), [SMALL_BYTES, ...LARGE_BYTES])
  await node.cliJson(['import', image.path, '--name', 'app:1'])
  const [small, ...large] = image.layers
  assert.ok(small)
  const torrents = await Promise.all(
    large.map(async ({ digest, bytes }) => {
      const read = async (at: number, length: number) =>
        Buffer.from(bytes.subarray(at, at + length))
      const pieces = await hashPieces({ size: bytes.length, read })
      const { infoHash } = makeTorrent({ digest, size: bytes.length, pieces })
      return { infoHash, pieceCount: pieces.length / 20 }
    }),
  )
  return { port: node.ready.peerPort, swarmKey, torrents, smallBlob: small.digest }
}

/** What the first peer of all costs, such as code that is compiled, is not what one more costs. */
async function warmUp(target: GreedTarget): Promise<void> {
  using member = new GreedyMember(target)
  for (const greed of ['nothing', 'whole blob'] as const) await member.connect(greed)
  await setTimeout(SETTLE_MS)
}

async function peakWhile(node: DdockerNode, work: () => Promise<void>): Promise<number> {
  let most = 0
  const watch = setInterval(() => (most = Math.max(most, memoryOf(node.pid))), WATCH_MS)
  try {
    await work()
  } finally {
    clearInterval(watch)
  }
  return Math.max(most, memoryOf(node.pid))
}

function tell(
  t: TestContext,
  { before, most, crowd }: { before: number; most: number; crowd: readonly GreedyMember[] },
): void {
  const open = crowd.reduce((sum, { openConnections }) => sum + openConnections, 0)
  const perPeer = (most - before) / crowd.length / MIB
  t.diagnostic(
    `${Math.round(before / MIB)} MiB before; ${perPeer.toFixed(2)} MiB for each at most; ${open} connections in the end`,
  )
}
