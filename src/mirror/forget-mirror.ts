import { pause } from '../support/pause.ts'
import { findMember } from './json-text.ts'
import { mirrorUrl } from './engine-plan.ts'
import { placeFile } from './file-change.ts'
import type { HostTree } from './host-tree.ts'
import { readRecord } from './mirror-record.ts'

const WAIT_MS = 5000
const STEP_MS = 50

interface ForgetOptions {
  readonly tree: HostTree
  readonly stateDir: string
  /** daemon.json */
  readonly path: string
  /** lets Docker read it again; how, in words, or undefined where that failed */
  readonly reload: () => Promise<string | undefined>
  /** the mirrors that Docker has loaded */
  readonly loadedMirrors: () => Promise<readonly string[]>
  readonly signal: AbortSignal
}

/**
 * Makes a running Docker drop our mirror before daemon.json is given back. When the list is gone from the file,
 * Docker keeps the one that it has loaded until its next start; an empty list it takes (moby, daemon/reload.go). So
 * the file has an empty list for a moment.
 * @returns how Docker was told, in words; undefined where it was not
 */
export async function forgetMirror(options: ForgetOptions): Promise<string | undefined> {
  const { tree, stateDir, path, reload } = options
  const recorded = (await readRecord(stateDir)).files.find((file) => file.path === path)
  const file = await tree.read(path)
  if (recorded?.kind !== 'daemon.json' || !file) return undefined
  const mirror = mirrorUrl(recorded.address)
  const emptied = withEmptyList(file.text, mirror)
  if (emptied === undefined) return undefined
  await placeFile(tree, path, { ...file, text: emptied })
  try {
    const how = await reload()
    return how !== undefined && (await isDropped(mirror, options)) ? how : undefined
  } finally {
    await placeFile(tree, path, file)
  }
}

/** Docker reads the file some time after it was told to. */
async function isDropped(
  mirror: string,
  { loadedMirrors, signal }: ForgetOptions,
): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < WAIT_MS; waitedMs += STEP_MS) {
    if (!(await loadedMirrors()).includes(mirror)) return true
    await pause(STEP_MS, signal)
  }
  return false
}

/** @returns undefined where the list holds more than our mirror: then giving the file back is enough */
function withEmptyList(text: string, mirror: string): string | undefined {
  const list = findMember(text, 'registry-mirrors')
  const [only, ...others] = list?.elements ?? []
  if (!list || only?.value !== mirror || others.length > 0) return undefined
  return `${text.slice(0, list.valueStart)}[]${text.slice(list.end)}`
}
