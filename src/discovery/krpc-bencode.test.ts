import assert from 'node:assert/strict'
import { test } from 'node:test'

import { decodeDatagram } from './krpc-bencode.ts'

const decode = (text: string) => decodeDatagram(Buffer.from(text, 'latin1'))

test('decodes numbers, byte strings, lists and dictionaries', () => {
  assert.equal(decode('i-42e'), -42)
  assert.deepEqual(decode('4:ping'), Buffer.from('ping'))
  assert.deepEqual(decode('li0e0:e'), [0, Buffer.alloc(0)])
  assert.deepEqual(decode('d1:ad1:bi1eee'), new Map([['a', new Map([['b', 1]])]]))
})

for (const [why, text] of [
  ['nothing', ''],
  ['a length below zero, on which the library runs out of memory', 'l-3:e'],
  ['the same in a dictionary', 'd-3:e'],
  ['a key of every object', 'd9:__proto__d5:tokeni1eee'],
  ['a key twice', 'd1:ai1e1:ai2ee'],
  ['a number as key', 'di1ei2ee'],
  ['bytes after the end', 'i1e1:a'],
  ['a string that is cut off', '5:ping'],
  ['a list that is cut off', 'li1e'],
  ['a dictionary that is cut off', 'd1:a'],
  ['a number that is cut off', 'i12'],
  ['a number with a leading zero', 'i01e'],
  ['minus zero', 'i-0e'],
  ['a fraction', 'i1.5e'],
  ['a number beyond what is exact', 'i9007199254740993e'],
  ['a length with a sign', '+1:a'],
  ['a length with a leading zero', '01:a'],
  ['no delimiter', '1'.repeat(2000)],
  ['lists in lists', 'l'.repeat(100) + 'e'.repeat(100)],
  ['very many lists in lists', 'l'.repeat(200_000)],
  ['very many values', `l${'i1e'.repeat(5000)}e`],
  ['a long key', `d99:${'k'.repeat(99)}i1ee`],
] as const) {
  test(`takes no ${why}`, () => {
    assert.equal(decode(text), undefined)
  })
}
