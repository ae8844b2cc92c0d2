import { installMirror, type InstallOutcome } from '../mirror/install-mirror.ts'
import { readDockerFacts } from '../mirror/docker-api.ts'
import { forgetMirror } from '../mirror/forget-mirror.ts'
import type { FileChange } from '../mirror/file-change.ts'
import { reloadDocker } from '../mirror/reload-docker.ts'
import { removeMirror, type RemoveOutcome } from '../mirror/remove-mirror.ts'
import type { Command, Invocation } from './command.ts'
import { changedLines } from './changed-lines.ts'
import { listFlag, openMirrorHost, type MirrorHost } from './mirror-host.ts'
import { printable } from './table.ts'

/** Puts the node in front of engines. */
export const mirrorInstall: Command = async (invocation) => {
  const { flags, output } = invocation
  const host = await openMirrorHost(invocation)
  const { tree, folders, address, docker, hostsFolders, stateDir, engines } = host
  const isDryRun = flags['dryRun'] === true
  const outcomes = await installMirror(
    {
      tree,
      folders,
      address,
      registries: listFlag(flags['also']),
      ...(docker && { docker: docker.facts }),
      ...(hostsFolders && { hostsFolders }),
    },
    { stateDir, engines, isDryRun },
  )
  const needsReload = outcomes.some((outcome) => outcome.needsReload) && !isDryRun
  const reloaded = needsReload ? await reload(host) : undefined
  const document = outcomes.map((outcome) => installDocument(outcome, reloaded))
  output.answer({ address, dryRun: isDryRun, reloaded: reloaded ?? null, engines: document }, () =>
    [
      ...outcomes.map((outcome) => renderInstalled(outcome, { isDryRun, reloaded, output })),
      conclusion(outcomes, { address, isDryRun }),
    ].join('\n\n'),
  )
  return 0
}

/** Takes the node away from in front of engines, and gives the files back. */
export const mirrorRemove: Command = async (invocation) => {
  const { flags, output } = invocation
  // an engine may be gone while its files are still there
  const host = await openMirrorHost(invocation, { withoutFlags: 'all' })
  const isDryRun = flags['dryRun'] === true
  const { tree, stateDir, engines } = host
  const forgotten = isDryRun ? undefined : await forget(host, invocation)
  const outcome = await removeMirror(tree, { stateDir, engines, isDryRun })
  const isReloadDue = outcome.needsReload && !isDryRun && forgotten === undefined
  const reloaded = forgotten ?? (isReloadDue ? await reload(host) : undefined)
  const { files, keptFolders, afterwards } = outcome
  const todo = withoutDone(afterwards, reloaded)
  const document = { dryRun: isDryRun, files, keptFolders, reloaded: reloaded ?? null }
  output.answer({ ...document, afterwards: todo }, () =>
    renderRemoved(outcome, { isDryRun, reloaded, output }),
  )
  // what could not be told from the user's part is left to the user
  return files.some((file) => file.outcome === 'left') ? 3 : 0
}

/** Only the engine of this host reads these files, and only if it is there. */
async function reload({ tree, docker, pidFile, run }: MirrorHost): Promise<string | undefined> {
  if (!tree.isThisHost || !docker) return undefined
  return await reloadDocker({ tree, run, ...(pidFile !== undefined && { pidFile }) })
}

/** @returns how Docker was told to drop the node, in words; undefined where it was not */
async function forget(host: MirrorHost, { signal }: Invocation): Promise<string | undefined> {
  const { tree, stateDir, engines, docker, folders } = host
  if (!tree.isThisHost || !docker || !engines.includes('docker')) return undefined
  return await forgetMirror({
    tree,
    stateDir,
    path: `${folders.docker}/daemon.json`,
    reload: () => reload(host),
    loadedMirrors: async () => (await readDockerFacts(docker.socketPath, signal))?.mirrors ?? [],
    signal,
  })
}

function installDocument(outcome: InstallOutcome, reloaded: string | undefined): object {
  const { engine, title, changes, folders, afterwards, remarks } = outcome
  const files = changes.map(({ path, before, after }) => ({ path, change: verbOf(before, after) }))
  return { engine, title, files, folders, afterwards: withoutDone(afterwards, reloaded), remarks }
}

interface RenderOptions {
  readonly isDryRun: boolean
  readonly reloaded: string | undefined
  readonly output: Invocation['output']
}

function renderInstalled(outcome: InstallOutcome, options: RenderOptions): string {
  const { engine, title, changes, folders, afterwards, remarks } = outcome
  const { isDryRun, reloaded, output } = options
  const folderLines = folders
    .filter((folder) => !changes.some(({ path }) => path.startsWith(`${folder}/`)))
    .map((folder) => `  ${(isDryRun ? 'make' : 'made').padEnd(9)}${printable(folder)}/`)
  const nothing = changes.length + folders.length === 0 ? ['  nothing to change'] : []
  return [
    `${output.coloured('bold', engine)}: ${printable(title)}`,
    ...changes.flatMap((change) => renderChange(change, options)),
    ...folderLines,
    ...nothing,
    ...(reloaded !== undefined && outcome.needsReload ? [`  reloaded by ${reloaded}`] : []),
    ...withoutDone(afterwards, reloaded).map(
      (text) =>
        `  ${output.coloured('yellow', isDryRun ? 'then ' : 'now  ')}    ${printable(text)}`,
    ),
    ...remarks.map((remark) => `  note     ${printable(remark)}`),
  ].join('\n')
}

function renderChange(change: FileChange, { isDryRun, output }: RenderOptions): string[] {
  const { path, before, after } = change
  const verb = verbOf(before, after, isDryRun)
  const line = `  ${verb.padEnd(9)}${printable(path)}`
  if (!isDryRun) return [line]
  const lines = changedLines(before?.text ?? '', after?.text ?? '').map((changed) =>
    output.coloured(changed.startsWith('+') ? 'green' : 'red', `      ${printable(changed)}`),
  )
  return [line, ...lines]
}

function conclusion(
  outcomes: readonly InstallOutcome[],
  { address, isDryRun }: { address: string; isDryRun: boolean },
): string {
  if (isDryRun) return 'this was a dry run: nothing was written'
  const isChanged = outcomes.some(({ changes, folders }) => changes.length + folders.length > 0)
  const way = isChanged
    ? `engines now ask ${address} first`
    : `engines were told of ${address} before`
  return `${way}; \`ddocker mirror status\` proves it, \`ddocker mirror remove\` takes it back`
}

function renderRemoved(outcome: RemoveOutcome, options: RenderOptions): string {
  const { files, changes, keptFolders, afterwards } = outcome
  const { isDryRun, reloaded, output } = options
  if (files.length === 0) return 'nothing was installed'
  const explained = {
    cleaned: '  (edited since: only our part was taken out)',
    left: '  (edited since: our part could not be told, take it out by hand)',
    gone: '  (somebody removed it)',
  } as const
  const fileLines = files.flatMap(({ path, outcome: verb }) => {
    const why = verb in explained ? explained[verb as keyof typeof explained] : ''
    const change = changes.find((candidate) => candidate.path === path)
    const [, ...diff] = change && isDryRun ? renderChange(change, options) : ['']
    return [`${verb.padEnd(9)}${printable(path)}${why}`, ...diff]
  })
  return [
    ...fileLines,
    ...keptFolders.map((path) => `kept     ${printable(path)}/  (something else is in it)`),
    ...(reloaded === undefined ? [] : [`reloaded by ${reloaded}`]),
    ...withoutDone(afterwards, reloaded).map(
      (text) => `${output.coloured('yellow', 'now')}      ${printable(text)}`,
    ),
    ...(isDryRun ? ['this was a dry run: nothing was written'] : []),
  ].join('\n')
}

/** What was done already needs not be told. */
function withoutDone(afterwards: readonly string[], reloaded: string | undefined): string[] {
  return afterwards.filter(
    (text) => reloaded === undefined || !/(?:daemon\.json|Restart Docker)/.test(text),
  )
}

function verbOf(
  before: FileChange['before'],
  after: FileChange['after'],
  isDryRun = false,
): string {
  if (!after) return isDryRun ? 'remove' : 'removed'
  if (before) return isDryRun ? 'change' : 'changed'
  return isDryRun ? 'write' : 'wrote'
}
