import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as fc from 'fast-check'

import { layOutMultipart } from './multipart.ts'
import { lengthOf, MAX_RANGES, selectRanges, type RangeSelection } from './range.ts'

const SIZE = 2048

const part = (start: number, end: number): RangeSelection => ({
  kind: 'part',
  range: { start, end },
})
const WHOLE: RangeSelection = { kind: 'whole' }
const UNSATISFIABLE: RangeSelection = { kind: 'unsatisfiable' }

const CASES: readonly [header: string | undefined, wanted: RangeSelection][] = [
  [undefined, WHOLE],
  ['bytes=0-', part(0, 2047)],
  ['bytes=0-0', part(0, 0)],
  ['bytes=500-1499', part(500, 1499)],
  ['bytes=500-', part(500, 2047)],
  ['bytes=-500', part(1548, 2047)],
  ['bytes=2000-5000', part(2000, 2047)],
  ['bytes=2047-2047', part(2047, 2047)],
  ['bytes=2047-', part(2047, 2047)],
  ['BYTES=1-2', part(1, 2)],
  ['bytes=-5000', part(0, 2047)],
  ['bytes= -5000', part(0, 2047)],
  [`bytes=0-${'9'.repeat(400)}`, part(0, 2047)],
  [`bytes=-${'9'.repeat(400)}`, part(0, 2047)],
  ['bytes=500-0', UNSATISFIABLE],
  ['bytes=2048-', UNSATISFIABLE],
  ['bytes=5000-10000', UNSATISFIABLE],
  ['bytes=-0', UNSATISFIABLE],
  ['bytes=9000-9001,8000-', UNSATISFIABLE],
  ['items=0-5', WHOLE],
  ['items=9000-', WHOLE],
  ['bytes', WHOLE],
  ['bytes=', WHOLE],
  ['bytes=-', WHOLE],
  ['bytes=a-b', WHOLE],
  ['bytes=1e3-', WHOLE],
  ['bytes=0x1-2', WHOLE],
  ['bytes=1-2,x', WHOLE],
  ['bytes=+1-2', WHOLE],
  ['0-5', WHOLE],
  ['bytes=0-1,9000-', part(0, 1)],
  [
    'bytes=8-9,0-1',
    {
      kind: 'parts',
      ranges: [
        { start: 8, end: 9 },
        { start: 0, end: 1 },
      ],
    },
  ],
  [
    'bytes=0-1, 2-3, -2',
    {
      kind: 'parts',
      ranges: [
        { start: 0, end: 1 },
        { start: 2, end: 3 },
        { start: 2046, end: 2047 },
      ],
    },
  ],
  ['bytes=0-,0-,0-', part(0, 2047)],
  [
    'bytes=100-200,0-10,150-300',
    {
      kind: 'parts',
      ranges: [
        { start: 0, end: 10 },
        { start: 100, end: 300 },
      ],
    },
  ],
]

for (const [header, wanted] of CASES) {
  const shown = header === undefined ? 'no Range' : header.slice(0, 40)
  test(`selects ${wanted.kind} of 2048 bytes for ${shown}`, () => {
    assert.deepEqual(selectRanges(header, SIZE), wanted)
  })
}

test('finds no range in an empty blob', () => {
  assert.deepEqual(selectRanges('bytes=0-', 0), UNSATISFIABLE)
  assert.deepEqual(selectRanges('bytes=-1', 0), UNSATISFIABLE)
  assert.deepEqual(selectRanges('items=0-', 0), WHOLE)
})

test('takes 1024 ranges and refuses one more', () => {
  const ranges = (count: number) =>
    `bytes=${Array.from({ length: count }, (_, index) => `${index * 2}-${index * 2}`).join(',')}`
  assert.equal(selectRanges(ranges(MAX_RANGES), 4096).kind, 'parts')
  assert.deepEqual(selectRanges(ranges(MAX_RANGES + 1), 4096), {
    kind: 'too-many',
    count: MAX_RANGES + 1,
  })
})

const spec = fc.oneof(
  fc.tuple(fc.nat(300), fc.nat(300)).map(([start, end]) => `${start}-${end}`),
  fc.nat(300).map((start) => `${start}-`),
  fc.nat(300).map((length) => `-${length}`),
)
const header = fc
  .array(spec, { minLength: 1, maxLength: 8 })
  .map((specs) => `bytes=${specs.join(',')}`)

test('selects exactly the bytes that were asked for, each once', () => {
  fc.assert(
    fc.property(header, fc.nat(250), (text, size) => {
      const selection = selectRanges(text, size)
      const wanted = bytesAskedFor(text, size)
      assert.deepEqual(
        bytesSelected(selection),
        [...wanted].sort((a, b) => a - b),
      )
    }),
  )
})

test('answers any text with a selection within the blob', () => {
  const anyText = fc.oneof(
    fc.string(),
    header,
    fc.string().map((text) => `bytes=${text}`),
  )
  fc.assert(
    fc.property(anyText, fc.nat(250), (text, size) => {
      const selection = selectRanges(text, size)
      assert.ok(bytesSelected(selection).every((byte) => byte >= 0 && byte < size))
    }),
  )
})

test('knows the length of a multipart body before its bytes are there', () => {
  const range = fc
    .tuple(fc.nat(1000), fc.nat(1000))
    .map(([start, more]) => ({ start, end: start + more }))
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 20 }), (ranges) => {
      const layout = layOutMultipart(ranges, 2001)
      const bodyBytes = layout.parts.reduce(
        (sum, { head, range }) => sum + head.length + lengthOf(range),
        0,
      )
      assert.equal(layout.contentLength, bodyBytes + layout.tail.length)
      assert.deepEqual(
        layout.parts.map((entry) => entry.range),
        ranges,
      )
    }),
  )
})

/** The plain reading of the RFC, byte by byte. */
function bytesAskedFor(text: string, size: number): Set<number> {
  const wanted = new Set<number>()
  for (const part of text.slice('bytes='.length).split(',')) {
    const [start = '', end = ''] = part.split('-')
    const first = start === '' ? Math.max(0, size - Number(end)) : Number(start)
    const last = start === '' || end === '' ? size - 1 : Math.min(Number(end), size - 1)
    for (let byte = first; byte <= last; byte += 1) wanted.add(byte)
  }
  return wanted
}

function bytesSelected(selection: RangeSelection): number[] {
  const ranges =
    selection.kind === 'part'
      ? [selection.range]
      : selection.kind === 'parts'
        ? selection.ranges
        : []
  const bytes = ranges.flatMap(({ start, end }) =>
    Array.from({ length: end - start + 1 }, (_, index) => start + index),
  )
  return bytes.sort((a, b) => a - b)
}
