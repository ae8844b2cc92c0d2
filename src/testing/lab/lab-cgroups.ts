/**
 * Containers that end with their engine's namespaces leave empty cgroups, which only rmdir removes.
 * All of the lab are `ddocker-lab/<owner>.<name>`, in cgroup v2 or in every v1 controller.
 */
import { readdir, rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isAlive } from './lab-directory.ts'

const CGROUPS = '/sys/fs/cgroup'
const PARENT = 'ddocker-lab'

/** The cgroup of what lives in a lab directory, such as `ddocker-lab/812-9912.gd-x1`. */
export function labCgroup(directory: string): string {
  return join(PARENT, `${basename(dirname(directory))}.${basename(directory)}`)
}

/** Removes a cgroup of this process, and those of test processes that have died. */
export async function removeLabCgroups(own: string): Promise<void> {
  const isOurs = (name: string): boolean =>
    name === basename(own) || !isAlive(name.split('.')[0] ?? '')
  for (const tree of [CGROUPS, ...(await childrenOf(CGROUPS))]) {
    const parent = join(tree, PARENT)
    const groups = await childrenOf(parent)
    for (const group of groups) if (isOurs(basename(group))) await removeTree(group)
    // Fails while another test process has groups in it, as it should.
    await rmdir(parent).catch(() => undefined)
  }
}

/** Removes a cgroup of any name with all below it, as far as no process is in it. */
export async function removeIdleCgroups(name: string): Promise<void> {
  for (const tree of [CGROUPS, ...(await childrenOf(CGROUPS))]) await removeTree(join(tree, name))
}

async function removeTree(path: string): Promise<void> {
  for (const child of await childrenOf(path)) await removeTree(child)
  await rmdir(path).catch(() => undefined)
}

async function childrenOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(path, entry.name))
}
