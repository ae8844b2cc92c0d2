import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf } from '../oci/digest.ts'
import { decodeBitfield, encodeBitfield, hasBit, setBit } from './partial-bitfield.ts'

const shape = { digest: digestOf('a blob'), size: 10_000, pieceLength: 1000 }
const bitfield = Buffer.from([0b1010_0000, 0b0100_0000])

test('reads back what it wrote', () => {
  assert.deepEqual(decodeBitfield(shape, encodeBitfield(shape, bitfield)), bitfield)
})

test('says nothing when any one bit of the file is flipped', () => {
  const file = encodeBitfield(shape, bitfield)
  for (let bit = 0; bit < file.length * 8; bit += 1) {
    const flipped = Buffer.from(file)
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    assert.equal(decodeBitfield(shape, flipped), undefined)
  }
})

test('says nothing about a blob of another digest, size or piece length', () => {
  const file = encodeBitfield(shape, bitfield)
  assert.equal(decodeBitfield({ ...shape, digest: digestOf('other') }, file), undefined)
  assert.equal(decodeBitfield({ ...shape, size: 9999 }, file), undefined)
  assert.equal(decodeBitfield({ ...shape, pieceLength: 1001 }, file), undefined)
})

test('says nothing when the file is cut, longer or empty', () => {
  const file = encodeBitfield(shape, bitfield)
  for (const wrong of [file.subarray(1), file.subarray(0, -1), Buffer.concat([file, file])]) {
    assert.equal(decodeBitfield(shape, wrong), undefined)
  }
  assert.equal(decodeBitfield(shape, Buffer.alloc(0)), undefined)
})

test('refuses pieces behind the last one', () => {
  assert.equal(decodeBitfield(shape, encodeBitfield(shape, Buffer.from([0, 1]))), undefined)
})

test('counts pieces from the high bit of the first byte', () => {
  const bits = Buffer.alloc(2)
  setBit(bits, 0, true)
  setBit(bits, 9, true)
  assert.deepEqual(bits, Buffer.from([0x80, 0x40]))
  setBit(bits, 0, false)
  assert.equal(hasBit(bits, 0), false)
  assert.equal(hasBit(bits, 9), true)
})
