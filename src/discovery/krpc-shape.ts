/**
 * What a KRPC message (BEP 5) must look like before bittorrent-dht may see it. The library trusts types:
 * an integer where it expects bytes, one datagram from anybody, ends the process. So every field that it
 * reads is listed here, and what is not listed is not read by it.
 */
import type { BencodeValue } from './krpc-bencode.ts'

type Check = (value: BencodeValue | undefined) => boolean

const ID_BYTES = 20
const NODE_BYTES = 26
const MAX_NODES = 64
const MAX_VALUES = 200
const MAX_PORT = 65535
/** Ours are 2 bytes, those of others seldom more than 4; they are echoed, so they are bounded. */
export const MAX_TRANSACTION_BYTES = 16
const MAX_TOKEN_BYTES = 64
const MAX_ITEM_BYTES = 1000

const id = bytes(ID_BYTES)
const token = bytes(1, MAX_TOKEN_BYTES)

// `put` is left out on purpose: a node keeps no items (BEP 44) for others, so nobody can fill it with them.
const QUESTIONS: ReadonlyMap<string, Check> = new Map([
  ['ping', dictionary({ id })],
  ['find_node', dictionary({ id, target: bytes(ID_BYTES) })],
  ['get_peers', dictionary({ id, info_hash: bytes(ID_BYTES) })],
  ['get', dictionary({ id, target: bytes(ID_BYTES), seq: optional(integer(0)) })],
  [
    'announce_peer',
    dictionary({
      id,
      info_hash: bytes(ID_BYTES),
      token,
      port: optional(integer(0, MAX_PORT)),
      implied_port: optional(integer(0, 1)),
    }),
  ],
])

const ANSWER = dictionary({
  id,
  token: optional(token),
  nodes: optional(compactNodes),
  values: optional(listOf(bytes(6), MAX_VALUES)),
  // BEP 44
  k: optional(bytes(32)),
  sig: optional(bytes(64)),
  seq: optional(integer(0)),
  v: optional(bytes(1, MAX_ITEM_BYTES)),
})

/** Whether a decoded datagram is a KRPC message that bittorrent-dht reads without harm. Pure. */
export function isWellFormed(message: BencodeValue | undefined): boolean {
  if (!(message instanceof Map)) return false
  const transaction = message.get('t')
  switch (kindOf(message)) {
    case 'q':
      return bytes(1, MAX_TRANSACTION_BYTES)(transaction) && isQuestion(message)
    case 'r':
      return bytes(2)(transaction) && ANSWER(message.get('r'))
    case 'e':
      return bytes(2)(transaction) && isError(message.get('e'))
    default:
      return false
  }
}

/** Whether a well-formed message asks something, rather than answering. */
export function isQuestionMessage(message: BencodeValue | undefined): boolean {
  return message instanceof Map && kindOf(message) === 'q'
}

function kindOf(message: ReadonlyMap<string, BencodeValue>): string | undefined {
  const kind = message.get('y')
  return Buffer.isBuffer(kind) && kind.length === 1 ? kind.toString('latin1') : undefined
}

function isQuestion(message: ReadonlyMap<string, BencodeValue>): boolean {
  const verb = message.get('q')
  if (!Buffer.isBuffer(verb)) return false
  return QUESTIONS.get(verb.toString('latin1'))?.(message.get('a')) ?? false
}

function isError(value: BencodeValue | undefined): boolean {
  if (!Array.isArray(value) || value.length !== 2) return false
  return integer(0)(value[0]) && bytes(0, 256)(value[1])
}

function compactNodes(value: BencodeValue | undefined): boolean {
  return bytes(0, MAX_NODES * NODE_BYTES)(value) && (value as Buffer).length % NODE_BYTES === 0
}

function bytes(min: number, max: number = min): Check {
  return (value) => Buffer.isBuffer(value) && value.length >= min && value.length <= max
}

function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Check {
  return (value) => typeof value === 'number' && value >= min && value <= max
}

function listOf(check: Check, max: number): Check {
  return (value) => Array.isArray(value) && value.length <= max && value.every(check)
}

function optional(check: Check): Check {
  return (value) => value === undefined || check(value)
}

function dictionary(fields: Readonly<Record<string, Check>>): Check {
  const checks = Object.entries(fields)
  return (value) => value instanceof Map && checks.every(([name, check]) => check(value.get(name)))
}
