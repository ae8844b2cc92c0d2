import assert from 'node:assert/strict'
import { test } from 'node:test'

import { topFunctions } from './top-functions.ts'

test('time goes to the function of the sample before it, and idle time does not count', () => {
  const frame = (functionName: string, url = '') => ({ functionName, url, lineNumber: 9 })
  const top = topFunctions({
    nodes: [
      { id: 1, callFrame: frame('(idle)') },
      { id: 2, callFrame: frame('pick', 'file:///x/src/torrent/piece-picker.ts') },
      { id: 3, callFrame: frame('') },
    ],
    samples: [2, 1, 3, 2],
    timeDeltas: [0, 3000, 50_000, 1000],
  })
  assert.deepEqual(top, [
    { place: 'pick src/torrent/piece-picker.ts:10', ms: 3, share: 0.75 },
    { place: '(anonymous)', ms: 1, share: 0.25 },
  ])
})
