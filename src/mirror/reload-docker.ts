import { readFile } from 'node:fs/promises'

import type { HostTree } from './host-tree.ts'
import type { RunProgram } from './run-program.ts'

const SYSTEMD = '/run/systemd/system'

/**
 * Lets the Docker of this host read daemon.json again.
 * @param options.pidFile of dockerd; without one systemd alone is asked
 * @returns how, in words; undefined where it could not be done
 */
export async function reloadDocker({
  tree,
  pidFile,
  run,
}: {
  tree: HostTree
  pidFile?: string
  run: RunProgram
}): Promise<string | undefined> {
  if (await tree.hasAny([SYSTEMD])) {
    const { code } = await run('systemctl', ['reload', 'docker'])
    if (code === 0) return '`systemctl reload docker`'
  }
  const written = pidFile && (await tree.read(pidFile).catch(() => undefined))?.text
  const pid = Number(written?.trim())
  if (!Number.isSafeInteger(pid) || pid <= 1 || !(await isDockerd(pid))) return undefined
  try {
    process.kill(pid, 'SIGHUP')
    return `SIGHUP to dockerd (process ${pid})`
  } catch {
    // not ours to signal: the hint says what to do
    return undefined
  }
}

/** A pid file may have outlived its process: the number may be somebody else's by now. */
async function isDockerd(pid: number): Promise<boolean> {
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')
  return name.trim() === 'dockerd'
}
