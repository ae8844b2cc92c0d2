import assert from 'node:assert/strict'

import { isOperationError } from '../../errors.ts'
import { digestOf, isDigest } from '../../oci/digest.ts'
import {
  MAX_DIGESTS_PER_QUESTION,
  MAX_NAMES_PER_QUESTION,
  parseDigestQuestion,
  parseDigests,
  parseHeldBlobs,
  parseHello,
  parseNames,
  parseRecordList,
  parseWarmOrder,
  parseWarmReport,
} from '../../peering/peer-messages.ts'
import type { FuzzTarget } from './fuzz.ts'
import { JSON_TEXT } from './grammars.ts'
import { assertPlain, countIsSound, jsonOf, textIsPlain } from './promises.ts'

const nodeId = 'c'.repeat(64)
const digests = ['a', 'b', 'c'].map((text) => digestOf(text))
const blob = { digest: digests[0], size: 5, state: 'complete', isPrivate: true }
const report = { state: 'moving', size: 9, done: 3, loaded: false }
const bytes = { store: 1, peers: 1, upstream: 1 }

/** A parser of one message, and what it promises. */
interface MessageReader {
  readonly seeds: readonly object[]
  /** @returns what kind of message was taken */
  read(value: unknown): string
}

/** Messages between nodes: every parser reads every one, also those that are meant for another. */
export function peerMessagesTarget(): FuzzTarget {
  const readers = messageReaders()
  return {
    name: 'messages between nodes',
    grammar: JSON_TEXT,
    seeds: readers.flatMap(({ seeds }) => seeds.map((seed) => JSON.stringify(seed))),
    codes: [],
    read(input) {
      const value = jsonOf(input)
      if (value === undefined) return undefined
      let answers = ''
      for (const reader of readers) answers += answerOf(reader, value)
      return answers
    },
  }
}

function answerOf(reader: MessageReader, value: unknown): string {
  try {
    return reader.read(value)
  } catch (error) {
    if (isOperationError(error, 'MESSAGE_INVALID')) return ''
    throw error
  }
}

function messageReaders(): MessageReader[] {
  return [
    reader(parseHello, {
      seeds: [{ nodeId, nodeName: 'Büro 1', version: '0.1.0', peerPort: 6881 }],
      check(hello) {
        assertPlain(hello, ['nodeId', 'nodeName', 'version', 'peerPort'])
        assert.match(hello.nodeId, /^[0-9a-f]{64}$/)
        assert.ok(textIsPlain(hello.nodeName) && hello.nodeName.length <= 253)
        assert.ok(textIsPlain(hello.version) && hello.version.length <= 64)
        assert.ok(countIsSound(hello.peerPort) && hello.peerPort > 0 && hello.peerPort < 65_536)
      },
    }),
    reader(parseDigests, {
      seeds: [{ digests }, { digests: [] }],
      check: (list) => assertList(list, MAX_DIGESTS_PER_QUESTION, isDigest),
    }),
    reader(parseDigestQuestion, {
      seeds: [{ digest: digests[0] }],
      check: (digest) => assert.ok(isDigest(digest)),
    }),
    reader(parseNames, {
      seeds: [{ names: ['docker.io/library/app:1', 'x'] }, { names: [] }],
      check: (names) => assertList(names, MAX_NAMES_PER_QUESTION, isShortText),
    }),
    reader(parseHeldBlobs, {
      seeds: [{ blobs: [blob, { digest: digests[1], size: 0, state: 'partial' }] }, { blobs: [] }],
      check(blobs) {
        assertList(blobs, MAX_DIGESTS_PER_QUESTION)
        for (const held of blobs) {
          assertPlain(held, ['digest', 'size', 'state', 'isPrivate'])
          assert.ok(isDigest(held.digest) && countIsSound(held.size))
          assert.ok(held.state === 'complete' || held.state === 'partial')
          assert.ok(held.isPrivate === undefined || held.isPrivate)
        }
      },
    }),
    reader(parseRecordList, {
      seeds: [{ records: [{ name: 'a' }, { name: 'b' }] }, { records: [] }],
      check: (records) => assertList(records, 1024),
    }),
    reader(parseWarmOrder, {
      seeds: [{ nodeId, references: ['app:1', 'registry.test/a/b@x'], load: true, parallel: 4 }],
      check(order) {
        assertPlain(order, ['nodeId', 'references', 'load', 'parallel'])
        assert.ok(textIsPlain(order.nodeId) && order.nodeId.length <= 64)
        assertList(order.references, MAX_NAMES_PER_QUESTION, isShortText)
        assert.equal(typeof order.load, 'boolean')
        assert.ok(countIsSound(order.parallel) && order.parallel >= 1 && order.parallel <= 64)
      },
    }),
    reader(parseWarmReport, {
      seeds: [
        { ...report, bytes },
        { ...report, bytes, state: 'failed', message: 'no node has it' },
      ],
      check(found) {
        assertPlain(found, ['state', 'size', 'done', 'bytes', 'loaded', 'message'])
        assertPlain(found.bytes, ['store', 'peers', 'upstream'])
        assert.ok(['moving', 'loading', 'done', 'failed'].includes(found.state))
        assert.ok([found.size, found.done, ...Object.values(found.bytes)].every(countIsSound))
        assert.equal(typeof found.loaded, 'boolean')
        if (found.message !== undefined)
          assert.ok(textIsPlain(found.message) && found.message.length <= 1000)
      },
    }),
  ]
}

function reader<Value>(
  parse: (value: unknown) => Value,
  { seeds, check }: { seeds: readonly object[]; check: (value: Value) => void },
): MessageReader {
  return {
    seeds,
    read(value) {
      const parsed = parse(value)
      check(parsed)
      return `${parse.name} ${kindOf(parsed)} `
    },
  }
}

/** Its fields, and what kinds of values they have. */
function kindOf(value: unknown, depth = 0): string {
  if (typeof value !== 'object' || value === null || depth > 3) return typeof value
  if (Array.isArray(value)) return `${Math.min(value.length, 4)}${kindOf(value[0], depth + 1)}`
  const fields = Object.entries(value).slice(0, 8)
  return fields.map(([name, field]) => name.slice(0, 16) + kindOf(field, depth + 1)).join()
}

function assertList<Item>(
  value: readonly Item[],
  max: number,
  isSound: (item: Item) => boolean = () => true,
): void {
  assert.ok(Array.isArray(value) && value.length <= max && value.every(isSound))
}

function isShortText(value: unknown): boolean {
  return textIsPlain(value) && value.length <= 512
}
