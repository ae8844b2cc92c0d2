import { HostTree } from '../mirror/host-tree.ts'
import { readRecord } from '../mirror/mirror-record.ts'
import type { Invocation } from './command.ts'
import type { CheckResult } from './doctor-checks.ts'
import { openMirrorHost, stateDirOf } from './mirror-host.ts'
import { lookAtEngines } from './mirror-status.ts'

/**
 * For `doctor`: whether the engines that were told to ask the node do so.
 * @returns undefined where none was told
 */
export async function checkMirrors(invocation: Invocation): Promise<CheckResult | undefined> {
  const { files } = await readRecord(await stateDirOf(invocation, new HostTree()))
  const told = new Set(files.map(({ engine }) => engine))
  if (told.size === 0) return undefined
  const flags = {
    ...invocation.flags,
    ...Object.fromEntries([...told].map((name) => [name, true])),
  }
  const host = await openMirrorHost({ ...invocation, flags })
  const states = await lookAtEngines(host, invocation.signal)
  const astray = states.find(({ state }) => state === 'missed' || state === 'absent')
  if (!astray) {
    const words = states.map(({ engine, state }) =>
      state === 'hit' ? engine : `${engine} (${state})`,
    )
    return { result: 'ok', message: `asked first by ${words.join(', ')}` }
  }
  const { engine, message, hint } = astray
  return { result: 'warn', message: `${engine}: ${message}`, ...(hint !== undefined && { hint }) }
}
