import { isAbsolute } from 'node:path'

import { OperationError } from '../errors.ts'
import { MAX_OVERLAP_MS } from '../membership/key-order.ts'
import type { NodeOperations, OperationName } from './control-protocol.ts'

export type RequestOf<Name extends OperationName> = Parameters<
  Exclude<NodeOperations[Name], undefined>
>[0]

type Parser<Request> = (fields: Readonly<Record<string, unknown>>) => Request
type ParserTable = { readonly [Name in OperationName]: Parser<RequestOf<Name>> }

const MAX_TEXTS = 10_000
const MAX_TEXT_LENGTH = 4096
const MAX_PARALLEL = 1000
const MAX_LIFETIME_MS = 365 * 86_400_000

const takesNothing = () => ({})

const PARSERS: ParserTable = {
  seed: (fields) => ({ references: textsOf(fields, 'references') }),
  seedAll: (fields) => ({ watch: switchOf(fields, 'watch') }),
  import: (fields) => ({
    path: pathOf(fields),
    ...(fields['name'] !== undefined && { name: textOf(fields['name'], 'name') }),
  }),
  pull: (fields) => ({
    reference: textOf(fields['reference'], 'reference'),
    load: switchOf(fields, 'load'),
  }),
  warm: (fields) => ({
    references: textsOf(fields, 'references'),
    ...(fields['nodes'] !== undefined && { nodes: textsOf(fields, 'nodes') }),
    load: switchOf(fields, 'load'),
    parallel: parallelOf(fields),
  }),
  torrent: (fields) => ({ references: textsOf(fields, 'references') }),
  publish: (fields) => ({
    references: textsOf(fields, 'references'),
    own: switchOf(fields, 'own'),
    metainfo: switchOf(fields, 'metainfo'),
    ...(fields['address'] !== undefined && { address: textOf(fields['address'], 'address') }),
  }),
  unpublish: (fields) => ({ references: textsOf(fields, 'references') }),
  explain: (fields) => ({ reference: textOf(fields['reference'], 'reference') }),
  list: takesNothing,
  status: takesNothing,
  peers: takesNothing,
  swarmId: takesNothing,
  swarmInvite: (fields) => ({
    ...(fields['lifetimeMs'] !== undefined && { lifetimeMs: lifetimeOf(fields) }),
    ...(fields['once'] !== undefined && { once: switchOf(fields, 'once') }),
    ...(fields['addresses'] !== undefined && { addresses: textsOf(fields, 'addresses') }),
  }),
  swarmRotate: (fields) => ({ overlapMs: overlapOf(fields) }),
  swarmRevoke: (fields) => ({ nodes: textsOf(fields, 'nodes') }),
  verify: takesNothing,
  gc: (fields) => ({ dryRun: switchOf(fields, 'dryRun') }),
}

/** Whether a node may be asked for `name`. */
export function isOperationName(name: string): name is OperationName {
  return Object.hasOwn(PARSERS, name)
}

/**
 * Reads the body of a request.
 * @throws OperationError MESSAGE_INVALID
 */
export function parseRequest<Name extends OperationName>(
  name: Name,
  body: string,
): RequestOf<Name> {
  let fields: unknown
  try {
    fields = JSON.parse(body === '' ? '{}' : body)
  } catch (cause) {
    throw new OperationError('MESSAGE_INVALID', `${name}: wanted JSON`, { cause })
  }
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    throw refusal('request', 'an object', fields)
  }
  const parse: Parser<RequestOf<Name>> = PARSERS[name]
  return parse(fields as Record<string, unknown>)
}

function textsOf(fields: Readonly<Record<string, unknown>>, name: string): string[] {
  const texts = fields[name]
  if (!Array.isArray(texts) || texts.length === 0 || texts.length > MAX_TEXTS) {
    throw refusal(name, `a list of 1 to ${MAX_TEXTS} texts`, texts)
  }
  return texts.map((text: unknown) => textOf(text, name))
}

function textOf(text: unknown, name: string): string {
  if (typeof text !== 'string' || text === '' || text.length > MAX_TEXT_LENGTH) {
    throw refusal(name, `a text of 1 to ${MAX_TEXT_LENGTH} characters`, text)
  }
  return text
}

function pathOf(fields: Readonly<Record<string, unknown>>): string {
  const path = textOf(fields['path'], 'path')
  if (!isAbsolute(path) || path.includes('\0')) throw refusal('path', 'an absolute path', path)
  return path
}

function switchOf(fields: Readonly<Record<string, unknown>>, name: string): boolean {
  const value = fields[name] ?? false
  if (typeof value !== 'boolean') throw refusal(name, 'true or false', value)
  return value
}

function parallelOf(fields: Readonly<Record<string, unknown>>): number {
  const value = fields['parallel']
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > MAX_PARALLEL) {
    throw refusal('parallel', `a whole number from 1 to ${MAX_PARALLEL}`, value)
  }
  return value
}

function lifetimeOf(fields: Readonly<Record<string, unknown>>): number {
  const value = fields['lifetimeMs']
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > MAX_LIFETIME_MS)
    throw refusal('lifetimeMs', `a whole number from 1 to ${MAX_LIFETIME_MS}`, value)
  return value
}

function overlapOf(fields: Readonly<Record<string, unknown>>): number {
  const value = fields['overlapMs']
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > MAX_OVERLAP_MS)
    throw refusal('overlapMs', `a whole number from 0 to ${MAX_OVERLAP_MS}`, value)
  return value
}

function refusal(name: string, wanted: string, found: unknown): OperationError {
  const text = (JSON.stringify(found) ?? 'nothing').slice(0, 100)
  return new OperationError('MESSAGE_INVALID', `${name}: wanted ${wanted}, found ${text}`)
}
