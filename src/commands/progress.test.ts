import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'

import type { BlobProgress, NodeProgress, ProgressEvent } from '../control/control-protocol.ts'
import { drawBar } from './bar.ts'
import { Output } from './output.ts'
import { openProgress } from './progress.ts'
import { RateMeter } from './rate-meter.ts'
import { count, percent, sourceShares, sourceSizes } from './wording.ts'

const MIB = 1024 * 1024

interface Screen {
  readonly text: () => string
  readonly output: Output
}

function openScreen(
  options: { isTTY?: boolean; rows?: number; isQuiet?: boolean; hasColours?: boolean } = {},
): Screen {
  const { isTTY = false, rows = 24, isQuiet = false, hasColours = false } = options
  const written: string[] = []
  const stderr = { isTTY, rows, columns: 100, write: (text: string) => written.push(text) }
  const stdout = { write: () => assert.fail('progress belongs to stderr') }
  const output = new Output({ stdout, stderr, isJson: false, isQuiet, hasColours })
  return { output, text: () => written.join('') }
}

function blob(index: number, state: BlobProgress['state'], share = 1): BlobProgress {
  const digest = `sha256:${String(index).padStart(64, '0')}`
  const done = 8 * MIB * share
  const bytes = { store: 0, peers: done * 0.75, upstream: done * 0.25 }
  return {
    type: 'blob',
    reference: 'app:1',
    digest,
    role: 'layer',
    size: 8 * MIB,
    done,
    bytes,
    state,
  }
}

/** The lines that are on the screen at the end. */
async function lastPicture(screen: Screen, events: readonly ProgressEvent[]): Promise<string[]> {
  const progress = await openProgress(screen.output)
  for (const event of events) progress.report(event)
  const before = screen.text().length
  progress[Symbol.dispose]()
  return stripVTControlCharacters(screen.text().slice(before))
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
}

test('a terminal shows a bar for every layer, with size, share and where its bytes came from', async () => {
  const lines = await lastPicture(openScreen({ isTTY: true }), [
    { type: 'image', reference: 'app:1', state: 'moving' },
    blob(1, 'moving', 0.5),
    blob(2, 'done'),
    { ...blob(3, 'done'), role: 'config', size: 1000 },
  ])
  const name = '0'.repeat(12)
  assert.deepEqual(lines, [
    'app:1  moving',
    `layer ${name}   ${'━'.repeat(12)}╸${'┄'.repeat(12)}  50 %   8.0 MiB       0 B/s  peers 75 %, upstream 25 %`,
    `layer ${name}   ${'━'.repeat(25)} 100 %   8.0 MiB        done  peers 75 %, upstream 25 %`,
  ])
})

test('a terminal that is too small drops what has ended', async () => {
  const events = [1, 2, 3, 4, 5].map((index) => blob(index, 'done'))
  const lines = await lastPicture(openScreen({ isTTY: true, rows: 5 }), [
    ...events,
    blob(6, 'moving', 0.25),
  ])
  assert.equal(lines.length, 3)
  assert.match(lines.at(-1) ?? '', / 25 % /)
})

test('what does not fit on the screen yet is shown when there is room', async () => {
  const lines = await lastPicture(openScreen({ isTTY: true, rows: 4 }), [
    blob(1, 'moving', 0.25),
    blob(2, 'moving', 0.5),
    blob(3, 'moving', 0.75),
    blob(1, 'done'),
    blob(3, 'moving', 0.8),
  ])
  assert.deepEqual(
    lines.map((line) => /(\d+) %/.exec(line)?.[1]),
    ['50', '80'],
  )
})

test('the cursor is shown again at the end', async () => {
  const screen = openScreen({ isTTY: true })
  await lastPicture(screen, [blob(1, 'moving', 0.5)])
  assert.ok(screen.text().lastIndexOf('\u001B[?25h') > screen.text().lastIndexOf('\u001B[?25l'))
})

test('colours are for terminals that want them', async () => {
  for (const hasColours of [true, false]) {
    const screen = openScreen({ isTTY: true, hasColours })
    await lastPicture(screen, [{ type: 'image', reference: 'app:1', state: 'done' }])
    assert.equal(screen.text().includes('\u001B[32m'), hasColours)
  }
  const { output } = openScreen({ hasColours: true })
  assert.equal(output.coloured('red', 'x', output.stderr), 'x')
})

test('a pipe gets a line for every change of state, and none for mere movement', async () => {
  const screen = openScreen()
  const node: NodeProgress = {
    type: 'node',
    nodeName: 'web-1',
    nodeId: 'ab',
    address: '10.0.0.1:1',
    state: 'failed',
    size: 0,
    done: 0,
    bytes: { store: 0, peers: 0, upstream: 0 },
    message: 'it said\nno',
  }
  await lastPicture(screen, [
    { type: 'image', reference: 'app:1', state: 'resolving' },
    { type: 'image', reference: 'app:1', state: 'moving', message: 'try 2' },
    blob(1, 'waiting', 0),
    blob(1, 'moving', 0.1),
    blob(1, 'moving', 0.2),
    blob(2, 'kept'),
    blob(1, 'done'),
    { ...node, state: 'asked' },
    node,
    { type: 'image', reference: 'app:1', state: 'failed', message: 'nobody has it' },
  ])
  const name = `app:1  layer ${'0'.repeat(12)}`
  assert.equal(
    screen.text(),
    [
      'app:1  resolving',
      'app:1  moving  try 2',
      `${name}  8.0 MiB  moving`,
      `${name}  8.0 MiB  kept`,
      `${name}  8.0 MiB  done  from peers 6.0 MiB, upstream 2.0 MiB`,
      'web-1 (10.0.0.1:1)  asked  it said?no',
      'web-1 (10.0.0.1:1)  failed  it said?no',
      'app:1  failed',
      '',
    ].join('\n'),
  )
})

test('with --quiet there is nothing to see', async () => {
  for (const isTTY of [true, false]) {
    const screen = openScreen({ isTTY, isQuiet: true })
    assert.deepEqual(await lastPicture(screen, [blob(1, 'done')]), [])
    assert.equal(screen.text(), '')
  }
})

test('a bar fills in steps of half a character, and never runs over', () => {
  const cases: [number, string][] = [
    [0, '┄┄┄┄'],
    [0.125, '╸┄┄┄'],
    [0.5, '━━┄┄'],
    [1, '━━━━'],
    [7, '━━━━'],
    [-1, '┄┄┄┄'],
  ]
  for (const [share, wanted] of cases) assert.equal(drawBar(share, 4), wanted)
})

test('the rate is that of the last moments', () => {
  const meter = new RateMeter()
  assert.equal(meter.bytesPerSecond(0), 0)
  meter.add(0, 0)
  assert.equal(meter.bytesPerSecond(0), 0)
  meter.add(1000, 1000)
  assert.equal(meter.bytesPerSecond(1000), 1000)
  meter.add(1000, 2000)
  assert.equal(meter.bytesPerSecond(2000), 500)
  for (let second = 3; second < 20; second += 1) meter.add(1000 + second * 10, second * 1000)
  assert.ok(Math.abs(meter.bytesPerSecond(19_000) - 10) < 1)
  assert.equal(meter.bytesPerSecond(60_000), 0)
})

test('shares and counts are honest', () => {
  assert.deepEqual(
    [percent(0, 10), percent(1, 1e6), percent(999_999, 1e6), percent(10, 10), percent(0, 0)],
    ['0 %', '1 %', '99 %', '100 %', '100 %'],
  )
  assert.deepEqual(
    [count(0, 'image'), count(1, 'image'), count(2, 'image')],
    ['0 images', '1 image', '2 images'],
  )
  const bytes = { store: MIB, peers: 2 * MIB, upstream: MIB }
  assert.equal(sourceShares(bytes), 'peers 50 %, upstream 25 %, store 25 %')
  assert.equal(sourceSizes(bytes), 'peers 2.0 MiB, upstream 1.0 MiB, store 1.0 MiB')
  const none = { store: 0, peers: 0, upstream: 0 }
  assert.equal(sourceShares(none) + sourceSizes(none), '')
})
