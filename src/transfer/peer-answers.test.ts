import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { SignedReferenceRecord } from '../membership/reference-record.ts'
import { PeerAnswers } from './peer-answers.ts'

test('tells the newest records of every name that is asked for, in a bounded answer', async () => {
  const recordsOf = (name: string) =>
    Array.from({ length: 64 }, (_, sequence) => ({ name, sequence }) as SignedReferenceRecord)
  const answers = new PeerAnswers({
    catalog: { references: async (name: string) => recordsOf(name) },
  } as ConstructorParameters<typeof PeerAnswers>[0])
  assert.equal((await answers.references(['a'])).length, 64)
  const names = Array.from({ length: 64 }, (_, at) => `name-${at}`)
  const told = await answers.references(names)
  assert.equal(told.length, 256)
  assert.deepEqual(
    told.filter(({ name }) => name === 'name-63').map(({ sequence }) => sequence),
    [63, 62, 61, 60],
  )
})
