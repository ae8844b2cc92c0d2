/**
 * What `mirror install` has done to a host, so that `mirror remove` can undo it: one file per tree, whichever node
 * it was done for. It holds the originals, which may hold credentials: 0600.
 */
import { createHash } from 'node:crypto'
import { readFile, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import { makeFolder } from '../support/make-folder.ts'
import { ENGINE_NAMES, type EngineName, type FileKind } from './engine-plan.ts'
import type { HostFile } from './host-tree.ts'
import type { Inserted } from './text-edit.ts'

/** A file that was written. */
export interface RecordedFile {
  readonly engine: EngineName
  readonly path: string
  readonly kind: FileKind
  /** the node's, as it was written into the file */
  readonly address: string
  /** as it was before the first change; null: there was none */
  readonly original: HostFile | null
  /** SHA-256 of what was written, hex */
  readonly written: string
  readonly pieces: readonly Inserted[]
}

/** Everything that was done in one tree. */
export interface MirrorRecord {
  readonly files: readonly RecordedFile[]
  /** that were made, outermost first, and the engine they were made for */
  readonly folders: readonly { readonly path: string; readonly engine: EngineName }[]
  /** folders that were made for the record itself, as paths on this host, outermost first */
  readonly stateFolders: readonly string[]
}

const FORMAT = 1
const FILE_NAME = 'record.json'

/** What nothing was done to yet. */
export const EMPTY_RECORD: MirrorRecord = { files: [], folders: [], stateFolders: [] }

/** SHA-256 in hex, to tell whether a file is as it was written. */
export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/**
 * @param stateDir its folder on this host
 * @throws OperationError MIRROR_STATE_INVALID
 */
export async function readRecord(stateDir: string): Promise<MirrorRecord> {
  const path = join(stateDir, FILE_NAME)
  try {
    return parseRecord(JSON.parse(await readFile(path, 'utf8')))
  } catch (cause) {
    if (systemCodeOf(cause) === 'ENOENT' || systemCodeOf(cause) === 'ENOTDIR') return EMPTY_RECORD
    throw new OperationError('MIRROR_STATE_INVALID', `${path}: ${messageOf(cause)}`, { cause })
  }
}

/** Writes it; one of nothing goes away, with the folders that were made for it. */
export async function writeRecord(stateDir: string, record: MirrorRecord): Promise<void> {
  const path = join(stateDir, FILE_NAME)
  if (record.files.length === 0 && record.folders.length === 0) {
    await rm(path, { force: true })
    // one that holds something by now stays
    for (const folder of record.stateFolders.toReversed())
      await rmdir(folder).catch(() => undefined)
    return
  }
  const made = await makeStateFolders(stateDir)
  const stateFolders = [...record.stateFolders, ...made]
  const text = `${JSON.stringify({ format: FORMAT, ...record, stateFolders }, undefined, 2)}\n`
  await writeFileAtomically(path, text, { mode: 0o600 })
}

/** The two innermost are for their owner alone. @returns those that were not there */
async function makeStateFolders(stateDir: string): Promise<string[]> {
  const made: string[] = []
  for (let folder = stateDir; !(await isThere(folder)); folder = dirname(folder)) {
    made.unshift(folder)
  }
  for (const folder of made) {
    const isOuter = folder !== stateDir && folder !== dirname(stateDir)
    await makeFolder(folder, { mode: isOuter ? 0o755 : 0o700 })
  }
  return made
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}

function parseRecord(value: unknown): MirrorRecord {
  const record = asRecord(value)
  if (record?.['format'] !== FORMAT) throw new Error(`wanted format ${FORMAT}`)
  const { files, folders, stateFolders } = record
  return {
    files: listOf(files, parseFile),
    folders: listOf(folders, parseFolder),
    stateFolders: listOf(stateFolders, textOf),
  }
}

function parseFile(value: unknown): RecordedFile {
  const { engine, path, kind, address, original, written, pieces } = asRecord(value) ?? {}
  if (kind !== 'hosts.toml' && kind !== 'daemon.json' && kind !== 'other') throw unfit('kind')
  return {
    engine: engineOf(engine),
    path: textOf(path),
    kind,
    address: textOf(address),
    original: original === null ? null : parseHostFile(original),
    written: textOf(written),
    pieces: listOf(pieces, parsePiece),
  }
}

function parseFolder(value: unknown): MirrorRecord['folders'][number] {
  const { path, engine } = asRecord(value) ?? {}
  return { path: textOf(path), engine: engineOf(engine) }
}

function parseHostFile(value: unknown): HostFile {
  const { text, mode, uid, gid } = asRecord(value) ?? {}
  return { text: textOf(text), mode: numberOf(mode), uid: numberOf(uid), gid: numberOf(gid) }
}

function parsePiece(value: unknown): Inserted {
  const { before, text, after } = asRecord(value) ?? {}
  return { before: textOf(before), text: textOf(text), after: textOf(after) }
}

function listOf<Entry>(value: unknown, parse: (entry: unknown) => Entry): Entry[] {
  if (!Array.isArray(value)) throw unfit('list')
  return value.map(parse)
}

function engineOf(value: unknown): EngineName {
  const engine = ENGINE_NAMES.find((name) => name === value)
  if (engine === undefined) throw unfit('engine')
  return engine
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw unfit('text')
  return value
}

function numberOf(value: unknown): number {
  if (typeof value !== 'number') throw unfit('number')
  return value
}

function unfit(what: string): Error {
  return new Error(`wanted a ${what}, found something else`)
}
