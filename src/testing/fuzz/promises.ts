/** What parsers promise of the values they let in, and how inputs are turned into what they read. */
import assert from 'node:assert/strict'

import bencode from 'bencode'

import type { BencodeValue } from '../../support/bencode.ts'

/** The bytes of a latin1 text. */
export function bytesOf(input: string): Buffer {
  return Buffer.from(input, 'latin1')
}

/** What a body of JSON says; undefined for what is none, which the callers of the parsers refuse. */
export function jsonOf(input: string): unknown {
  try {
    return JSON.parse(input)
  } catch {
    return undefined
  }
}

/** A whole number that is exact, and not below zero. */
export function countIsSound(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** No control characters, which a terminal would obey, and no half characters, which no file can keep. */
export function textIsPlain(value: unknown): value is string {
  return typeof value === 'string' && !/[\p{Cc}\p{Cs}]/u.test(value)
}

/** Fields and nothing else: no prototype but the usual one, no field but these. */
export function assertPlain(value: object, fields: readonly string[]): void {
  assert.equal(Object.getPrototypeOf(value), Object.prototype)
  for (const name of Object.keys(value)) assert.ok(fields.includes(name), `a field "${name}"`)
}

/**
 * The libraries decode once more what ours has let through: they must read the same out of it, or what was checked
 * is not what is used.
 */
export function assertReadAlike(checked: BencodeValue, bytes: Uint8Array): void {
  assertSame(checked, bencode.decode(bytes))
}

function assertSame(checked: BencodeValue, read: unknown): void {
  if (checked instanceof Buffer) {
    assert.ok(read instanceof Uint8Array && checked.equals(read), 'bytes differ')
  } else if (checked instanceof Map) {
    assert.ok(typeof read === 'object' && read !== null, 'no dictionary')
    assert.equal(Object.getPrototypeOf(read), Object.prototype, 'another prototype')
    const fields = Object.entries(read)
    assert.equal(fields.length, checked.size, 'more fields, or fewer')
    for (const [name, value] of fields) assertSame(checked.get(name) ?? 0, value)
  } else if (Array.isArray(checked)) {
    assert.ok(Array.isArray(read) && read.length === checked.length, 'lists differ')
    for (const [index, value] of checked.entries()) assertSame(value, read[index])
  } else {
    assert.equal(read, checked, 'numbers differ')
  }
}
