import assert from 'node:assert/strict'
import { test } from 'node:test'

import { OperationError } from '../../errors.ts'
import { fuzz, fuzzOpened, type FuzzTarget } from './fuzz.ts'
import { JSON_TEXT } from './grammars.ts'
import { jsonOf } from './promises.ts'
import { TARGETS } from './targets.ts'

const SEED = 20_261_122

for (const [name, open] of Object.entries(TARGETS)) {
  test(`${name}: three hundred inputs do no harm`, async () => {
    await fuzzOpened(open, { count: 300, seed: SEED })
  })
}

/** Reads `{ size, names }`, with `fault` in its way of doing so. */
function faulty(fault: (fields: Record<string, unknown>) => void): FuzzTarget {
  return {
    name: 'faulty',
    grammar: JSON_TEXT,
    seeds: ['{"size":5,"names":["a","b"]}'],
    codes: ['MESSAGE_INVALID'],
    read(input) {
      const value = jsonOf(input)
      if (typeof value !== 'object' || value === null) throw invalid()
      const fields = value as Record<string, unknown>
      fault(fields)
      if (typeof fields['size'] !== 'number') throw invalid()
      return 'taken'
    },
  }
}

function invalid(): OperationError {
  return new OperationError('MESSAGE_INVALID', 'not one')
}

const kept: unknown[] = []

const FAULTS: Readonly<Record<string, (fields: Record<string, unknown>) => void>> = {
  'an error without a code': ({ names }) => void (names as string[]).map((name) => name.length),
  'an error with another code': ({ size }) => {
    if (size === null) throw new OperationError('BLOB_UNKNOWN', 'no size')
  },
  'a value out of its bounds': ({ size }) =>
    assert.ok(typeof size !== 'number' || Number.isSafeInteger(size)),
  'a key that means something else': (fields) =>
    assert.ok(!Object.hasOwn(fields, '__proto__') || fields['names'] === undefined),
  'an input that takes long': ({ names }) => {
    const untilMs = performance.now() + (Array.isArray(names) && names.length > 2 ? 300 : 0)
    while (performance.now() < untilMs);
  },
  'memory that is not given back': () => void kept.push(new Uint8Array(4096)),
}

for (const [name, fault] of Object.entries(FAULTS)) {
  test(`finds ${name}`, async () => {
    await assert.rejects(fuzz(faulty(fault), { count: 20_000, seed: SEED }), {
      code: 'ERR_ASSERTION',
      message: /faulty.*seed 20261122/s,
    })
  })
}

test('the same seed gives the same inputs', async () => {
  const read = async () => {
    const inputs: string[] = []
    const target = faulty(() => {})
    const recording = {
      ...target,
      read: (input: string) => {
        // What took long is read once more.
        if (inputs.at(-1) !== input) inputs.push(input)
        return target.read(input)
      },
    }
    await fuzz(recording, { count: 500, seed: SEED }).catch(() => {})
    return inputs
  }
  assert.deepEqual(await read(), await read())
})
