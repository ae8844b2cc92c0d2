/** Puts the node in front of engines: everything is planned before anything is written. */
import { dirname } from 'node:path'

import {
  afterwardsOf,
  type EngineName,
  type EnginePlan,
  type FileEdit,
  type FileKind,
  type PlanContext,
} from './engine-plan.ts'
import { planBuildkit } from './buildkit-plan.ts'
import { planContainerd } from './containerd-plan.ts'
import { planDocker } from './docker-plan.ts'
import {
  applyChanges,
  missingFolders,
  removeFolders,
  type FileChange,
  type NewFolder,
} from './file-change.ts'
import type { HostFile } from './host-tree.ts'
import {
  hashOf,
  readRecord,
  writeRecord,
  type MirrorRecord,
  type RecordedFile,
} from './mirror-record.ts'
import { planPodman } from './podman-plan.ts'
import { insertAll, rememberAll } from './text-edit.ts'
import { userPart } from './user-part.ts'

/** What was done, or would be. */
export interface InstallOutcome {
  readonly engine: EngineName
  readonly title: string
  readonly changes: readonly FileChange[]
  readonly folders: readonly string[]
  /** what the engine needs before it notices */
  readonly afterwards: readonly string[]
  /** Docker has to read its settings again */
  readonly needsReload: boolean
  readonly remarks: readonly string[]
}

interface InstallOptions {
  /** where the record is, on this host */
  readonly stateDir: string
  readonly engines: readonly EngineName[]
  readonly isDryRun?: boolean
}

const PLANNERS: Readonly<Record<EngineName, (context: PlanContext) => Promise<EnginePlan>>> = {
  docker: planDocker,
  containerd: planContainerd,
  podman: planPodman,
  buildkit: planBuildkit,
}
const NEW_FILE_MODE = 0o644

/** A plan, thought through to the bytes. */
interface PreparedPlan {
  readonly plan: EnginePlan
  readonly files: readonly PreparedFile[]
}
interface PreparedFile {
  readonly change: FileChange
  /** undefined: the file has nothing of ours */
  readonly recorded: RecordedFile | undefined
  readonly kind: FileKind
}

/**
 * Does what it takes; where all is as it should be, nothing.
 * @throws OperationError MIRROR_FILE_INVALID, MIRROR_FILE_UNWRITABLE, MIRROR_STATE_INVALID: nothing has changed
 */
export async function installMirror(
  context: Omit<PlanContext, 'isOurs'>,
  { stateDir, engines, isDryRun = false }: InstallOptions,
): Promise<InstallOutcome[]> {
  const record = await readRecord(stateDir)
  const isOurs = (path: string) =>
    [...record.folders, ...record.files].some((ours) => ours.path === path)
  const prepared: PreparedPlan[] = []
  for (const engine of engines) {
    const plan = await PLANNERS[engine]({ ...context, isOurs })
    prepared.push(await prepare(context, { plan, record, taken: pathsOf(prepared) }))
  }
  const wanted = wantedFolders(prepared)
  const folders = await missingFolders(context.tree, wanted)
  const stale = record.folders.filter(
    ({ engine, path }) =>
      engines.includes(engine) &&
      !wanted.some((folder) => `${folder.path}/`.startsWith(`${path}/`)),
  )
  if (!isDryRun) await carryOut({ tree: context.tree, stateDir, record, prepared, folders, stale })
  return prepared.map((one) => outcomeOf(one, folders))
}

function pathsOf(prepared: readonly PreparedPlan[]): ReadonlySet<string> {
  return new Set(prepared.flatMap(({ files }) => files.map(({ change }) => change.path)))
}

/** @param options.taken files of engines before: two may read one folder */
async function prepare(
  { tree, address }: Pick<PlanContext, 'tree' | 'address'>,
  { plan, record, taken }: { plan: EnginePlan; record: MirrorRecord; taken: ReadonlySet<string> },
): Promise<PreparedPlan> {
  const files: PreparedFile[] = []
  for (const edit of plan.edits) {
    if (taken.has(edit.path)) continue
    const recorded = record.files.find(({ path }) => path === edit.path)
    const current = await tree.read(edit.path)
    files.push(prepareFile(current, { engine: plan.engine, edit, recorded, address }))
  }
  const planned = new Set([...taken, ...plan.edits.map(({ path }) => path)])
  for (const recorded of record.files) {
    // of another store, or of a registry that is gone: no longer wanted
    if (recorded.engine !== plan.engine || planned.has(recorded.path)) continue
    const current = await tree.read(recorded.path)
    const { file } = userPart(current, recorded)
    const change = { engine: plan.engine, path: recorded.path, before: current, after: file }
    files.push({ change, recorded: undefined, kind: recorded.kind })
  }
  return { plan, files }
}

function prepareFile(
  current: HostFile | undefined,
  {
    engine,
    edit: { path, kind, insert },
    recorded,
    address,
  }: {
    engine: EngineName
    edit: FileEdit
    recorded: RecordedFile | undefined
    address: string
  },
): PreparedFile {
  const { file: base, isComplete } = userPart(current, recorded)
  const insertions = insert(base?.text)
  if (insertions.length === 0) {
    // what could not be told from the user's part stays on record, for remove to say so
    const kept = isComplete ? undefined : recorded
    return { change: { engine, path, before: current, after: base }, recorded: kept, kind }
  }
  const text = insertAll(base?.text ?? '', insertions)
  const about = base ?? newFile()
  return {
    change: { engine, path, before: current, after: { ...about, text } },
    recorded: {
      engine: recorded?.engine ?? engine,
      path,
      kind,
      address,
      original: base ?? null,
      written: hashOf(text),
      pieces: rememberAll(base?.text ?? '', insertions),
    },
    kind,
  }
}

function wantedFolders(prepared: readonly PreparedPlan[]): NewFolder[] {
  return prepared.flatMap(({ plan: { engine, folders }, files }) => [
    ...folders.map((path) => ({ path, engine })),
    ...files
      .filter(({ change }) => change.after !== undefined)
      .map(({ change }) => ({ path: dirname(change.path), engine })),
  ])
}

/** The record first: what is written down and not done can be told from what was done, not the other way round. */
async function carryOut({
  tree,
  stateDir,
  record,
  prepared,
  folders,
  stale,
}: {
  tree: PlanContext['tree']
  stateDir: string
  record: MirrorRecord
  prepared: readonly PreparedPlan[]
  folders: readonly NewFolder[]
  /** made by an earlier install, and wanted no more: an empty folder of a registry hides _default */
  stale: readonly NewFolder[]
}): Promise<void> {
  const files = prepared.flatMap((one) => one.files)
  const changes = files.map(({ change }) => change).filter(isChange)
  const touched = new Set(files.map(({ change }) => change.path))
  const next: MirrorRecord = {
    files: [
      ...record.files.filter(({ path }) => !touched.has(path)),
      ...files.flatMap(({ recorded }) => recorded ?? []),
    ],
    folders: [...record.folders, ...folders],
    stateFolders: record.stateFolders,
  }
  if (changes.length + folders.length + stale.length === 0) return
  await writeRecord(stateDir, next)
  try {
    await applyChanges(tree, { folders, changes })
  } catch (error) {
    // with what was made for it by now, so that nothing is left
    const { stateFolders } = await readRecord(stateDir)
    await writeRecord(stateDir, { ...record, stateFolders })
    throw error
  }
  if (stale.length === 0) return
  const { removed } = await removeFolders(tree, stale)
  const left = await readRecord(stateDir)
  const kept = left.folders.filter(({ path }) => !removed.includes(path))
  await writeRecord(stateDir, { ...left, folders: kept })
}

function outcomeOf({ plan, files }: PreparedPlan, folders: readonly NewFolder[]): InstallOutcome {
  const changed = files.filter(({ change }) => isChange(change))
  return {
    engine: plan.engine,
    title: plan.title,
    changes: changed.map(({ change }) => change),
    folders: folders.filter(({ engine }) => engine === plan.engine).map(({ path }) => path),
    afterwards: changed.flatMap(({ change }) => afterwardsOf(change.path) ?? []),
    needsReload: changed.some(({ kind }) => kind === 'daemon.json'),
    remarks: plan.remarks,
  }
}

/** Whether a change changes anything. */
export function isChange({ before, after }: FileChange): boolean {
  if (!before || !after) return before !== after
  const { text, mode, uid, gid } = before
  return text !== after.text || mode !== after.mode || uid !== after.uid || gid !== after.gid
}

function newFile(): Omit<HostFile, 'text'> {
  return { mode: NEW_FILE_MODE, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
}
