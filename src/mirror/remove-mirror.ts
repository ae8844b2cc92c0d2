/** Takes the node away from in front of engines. */
import { afterwardsOf, type EngineName } from './engine-plan.ts'
import { applyChanges, removeFolders, type FileChange } from './file-change.ts'
import type { HostTree } from './host-tree.ts'
import { isChange } from './install-mirror.ts'
import { readRecord, writeRecord, type MirrorRecord, type RecordedFile } from './mirror-record.ts'
import { userPart, type UserPart } from './user-part.ts'

const KEEPS =
  'Restart Docker when it suits: until then it asks the node first, and docker.io where that is away.'

/** What became of one file. */
export interface RemovedFile {
  readonly engine: EngineName
  readonly path: string
  /**
   * `restored` as it was before, `removed` because there was none, `cleaned`: edited since, only our part was taken
   * out; `left`: edited so that our part could not be told, look yourself; `gone`: somebody else removed it
   */
  readonly outcome: 'restored' | 'removed' | 'cleaned' | 'left' | 'gone'
}

/** What was undone, or would be. */
export interface RemoveOutcome {
  readonly files: readonly RemovedFile[]
  readonly changes: readonly FileChange[]
  /** what engines need before they notice */
  readonly afterwards: readonly string[]
  /** Docker has to read its settings again */
  readonly needsReload: boolean
  /** that were made by install and hold something now */
  readonly keptFolders: readonly string[]
}

interface RemoveOptions {
  readonly stateDir: string
  readonly engines: readonly EngineName[]
  readonly isDryRun?: boolean
}

/**
 * Undoes what install did for these engines.
 * @throws OperationError MIRROR_FILE_INVALID, MIRROR_FILE_UNWRITABLE, MIRROR_STATE_INVALID: nothing has changed
 */
export async function removeMirror(
  tree: HostTree,
  { stateDir, engines, isDryRun = false }: RemoveOptions,
): Promise<RemoveOutcome> {
  const record = await readRecord(stateDir)
  const ours = record.files.filter(({ engine }) => engines.includes(engine))
  const undone: { file: RemovedFile; change: FileChange }[] = []
  for (const recorded of ours) {
    const before = await tree.read(recorded.path)
    const part = userPart(before, recorded)
    const { engine, path } = recorded
    undone.push({
      file: { engine, path, outcome: outcomeOf(part, recorded, before !== undefined) },
      change: { engine, path, before, after: part.file },
    })
  }
  const files = undone.map(({ file }) => file)
  const changes = undone.map(({ change }) => change).filter(isChange)
  const changedPaths = new Set(changes.map(({ path }) => path))
  const outcome = {
    files,
    changes,
    afterwards: ours
      .filter(({ path }) => changedPaths.has(path))
      .flatMap(({ kind, path }) => (kind === 'daemon.json' ? KEEPS : (afterwardsOf(path) ?? []))),
    needsReload: ours.some(({ kind, path }) => kind === 'daemon.json' && changedPaths.has(path)),
  }
  if (isDryRun) return { ...outcome, keptFolders: [] }
  const keptFolders = await carryOut(tree, { stateDir, record, engines, changes })
  return { ...outcome, keptFolders }
}

/** The files first: a record that goes on claiming what is undone does no harm, see {@link userPart}. */
async function carryOut(
  tree: HostTree,
  {
    stateDir,
    record,
    engines,
    changes,
  }: {
    stateDir: string
    record: MirrorRecord
    engines: readonly EngineName[]
    changes: readonly FileChange[]
  },
): Promise<string[]> {
  await applyChanges(tree, { folders: [], changes })
  const mine = record.folders.filter(({ engine }) => engines.includes(engine))
  const { kept } = await removeFolders(tree, mine)
  await writeRecord(stateDir, {
    ...record,
    files: record.files.filter(({ engine }) => !engines.includes(engine)),
    folders: record.folders.filter(({ engine }) => !engines.includes(engine)),
  })
  return kept
}

function outcomeOf(
  { file, isEdited, isComplete }: UserPart,
  { original }: RecordedFile,
  isThere: boolean,
): RemovedFile['outcome'] {
  if (!isThere) return original === null ? 'removed' : 'gone'
  if (!isComplete) return 'left'
  if (isEdited && file) return 'cleaned'
  return original === null ? 'removed' : 'restored'
}
