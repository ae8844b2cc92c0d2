/** The quick form of bench/crowd.ts: whether a crowd still finishes near the limit, and the seed sends little. */
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { makeBenchImage } from '../../bench/bench-image.ts'
import { pieceSeconds } from '../../bench/bounds.ts'
import { ddocker } from '../../bench/contenders/ddocker.ts'
import { calibrate, runCrowd } from '../../bench/crowd-run.ts'
import { openWorkDirectory } from '../../bench/work-directory.ts'
import { pieceCount } from '../torrent/piece-length.ts'
import { requireLab } from './lab/lab-requirements.ts'
import { openNetwork } from './lab/network.ts'

const LEECHERS = 8
const BLOB_BYTES = 32 * 1024 * 1024
// A busy machine makes it slower (1.2 idle, 1.8 at a load of 17), but hardly makes the seed send more: 1.05 to
// 1.32 were seen; 1.77 with an origin that sends pieces twice.
const MAX_RATIO = 2
const MAX_COPIES = 1.5

test('eight nodes that pull at once finish near the limit, and the seed sends the blob about once', async (t) => {
  if (!requireLab(t, ['linux', 'root', 'network'])) return
  await using work = await openWorkDirectory()
  await using network = await openNetwork({ hostCount: LEECHERS + 1, rate: '50mbit' })
  const calibration = await calibrate(network)
  const image = await makeBenchImage(work.path, BLOB_BYTES)
  const directory = work.path
  const run = await runCrowd({ contender: ddocker(), network, image, directory, calibration })
  const limit = pieceSeconds({
    bytes: BLOB_BYTES,
    rate: calibration.goodput,
    nodes: LEECHERS,
    pieces: pieceCount(BLOB_BYTES),
  })
  const ratio = run.slowest / limit
  t.diagnostic(`slowest ÷ limit ${ratio.toFixed(2)}, copies ${run.copies.toFixed(2)}`)
  t.diagnostic(
    `processors busy ${JSON.stringify(run.busy)}, seconds ${JSON.stringify(run.seconds)}`,
  )
  assert.ok(run.seconds.length === LEECHERS && run.startSpreadMs <= 50)
  assert.ok(run.copies >= 0.99, `the seed counts ${run.copies} copies`)
  assert.ok(run.copies < MAX_COPIES, `the seed sent ${run.copies} copies`)
  assert.ok(ratio > 0.95, `faster than the limit: ${ratio}; is the link shaped?`)
  assert.ok(ratio <= MAX_RATIO, `the slowest took ${ratio} times the limit`)
})
