/**
 * Where the laboratory keeps its files, and how it finds what a dead test process left behind.
 *
 *   <home>/sid, <home>/debian.tar       made by .ci/install-lab, read-only here
 *   <home>/run/<pid>-<start>/<name>-N   one directory per engine, node or client of a test process
 *
 * An owner is `<pid>-<start time of the process>`, so that a reused pid is not taken for the owner.
 * Engines need a real disk below them (overlay on overlay does not work), hence not the temp dir.
 */
import { mkdirSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, rm, rmdir } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'

/** A directory of a test; disposing removes it. */
export interface LabDirectory extends AsyncDisposable {
  readonly path: string
}

/** The folder that .ci/install-lab filled; `DDOCKER_LAB` moves it. */
export function labHome(): string {
  return process.env['DDOCKER_LAB'] ?? '/var/cache/ddocker-lab'
}

/** The owner tag of this process. */
export function ownOwner(): string {
  return `${process.pid}-${startTime(process.pid) ?? 0}`
}

/** Whether the process of an owner tag still runs. */
export function isAlive(owner: string): boolean {
  const [pid, start] = owner.split('-')
  const found = startTime(Number(pid))
  return found !== undefined && found === start
}

/** Makes an empty directory; its path is short, because unix sockets live in it. */
export async function openLabDirectory(name: string): Promise<LabDirectory> {
  const parent = join(runHome(), ownOwner())
  mkdirSync(parent, { recursive: true })
  const path = await mkdtemp(join(parent, `${name}-`))
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await rm(path, { recursive: true, force: true, maxRetries: 5 })
      // The last one of this process takes the owner's folder along.
      await rmdir(parent).catch(() => undefined)
    },
  }
}

/** Removes the directories of test processes that have died. */
export async function sweepLabDirectories(): Promise<void> {
  const owners = await readdir(runHome()).catch(() => [])
  const dead = owners.filter((owner) => !isAlive(owner))
  for (const owner of dead) {
    await rm(join(runHome(), owner), { recursive: true, force: true, maxRetries: 5 })
  }
}

function runHome(): string {
  const { uid, username } = userInfo()
  return uid === 0 ? join(labHome(), 'run') : join(tmpdir(), `ddocker-lab-${username}`)
}

// proc(5), /proc/pid/stat: field 22 is the start time; field 2 may hold spaces and brackets.
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return process.platform !== 'linux' && pid === process.pid ? '0' : undefined
  }
}
