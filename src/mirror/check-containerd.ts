import { readFile, readdir, stat } from 'node:fs/promises'

import { readConfig } from './containerd-plan.ts'
import {
  commonObstacle,
  INSTALL_AGAIN,
  lastWords,
  state,
  type CheckContext,
  type EngineState,
} from './engine-check.ts'
import { afterwardsOf } from './engine-plan.ts'
import { hiddenRegistries, hostsObstacle } from './hosts-check.ts'
import { newProbeTag, PROBE_REGISTRY, PROBE_REPOSITORY } from './probe-name.ts'

// proc(5): times in /proc/<pid>/stat count in ticks, 100 a second on every Linux
const TICK_MS = 10

/** containerd: `ctr` asks with the folder that the CRI plugin reads. */
export async function checkContainerd(context: CheckContext): Promise<EngineState> {
  const config = await readConfig(context)
  const obstacle = await hostsObstacle('containerd', config.hostsFolder, context)
  if (obstacle?.state === 'absent') return obstacle
  const common = commonObstacle('containerd', context)
  if (common ?? obstacle) return common ?? (obstacle as EngineState)
  const configToml = `${context.folders.containerd}/config.toml`
  if (!config.isSet && !config.isCriDisabled) {
    return state('containerd', 'missed', `${configToml} names no folder with hosts.toml`, {
      hint: INSTALL_AGAIN,
    })
  }
  if (context.tree.isThisHost && (await isOlderThan(await context.tree.resolve(configToml)))) {
    return state('containerd', 'missed', `it runs since before ${configToml} was changed`, {
      hint: afterwardsOf(configToml) ?? '',
    })
  }
  return probe(context, config)
}

async function probe(
  context: CheckContext,
  { hostsFolder, isCriDisabled }: { hostsFolder: string; isCriDisabled: boolean },
): Promise<EngineState> {
  const tag = newProbeTag()
  const image = `${PROBE_REGISTRY}/${PROBE_REPOSITORY}:${tag}`
  // fetches a manifest and prints it: nothing comes into the store
  const folder = await context.tree.resolve(hostsFolder)
  const args = ['content', 'fetch-object', '--hosts-dir', folder, image]
  const { code, stderr } = await context.run('ctr', args)
  if (await context.wasSeen(tag)) {
    const remarks = [
      ...(isCriDisabled ? ['its CRI plugin is switched off'] : []),
      `ctr needs --hosts-dir ${hostsFolder}`,
      ...(await hiddenRegistries(hostsFolder, context)),
    ]
    return state('containerd', 'hit', 'every registry', { remarks })
  }
  if (code === undefined) {
    return state('containerd', 'unproven', 'installed, but there is no ctr to ask with')
  }
  return state('containerd', 'missed', `ctr did not ask the node: ${lastWords(stderr)}`, {
    hint: 'See whether containerd runs, as root, and reads the files named by `ddocker mirror install`.',
  })
}

/** Whether the containerd of this host has started before a file was changed. */
async function isOlderThan(path: string): Promise<boolean> {
  const changed = await stat(path).catch(() => undefined)
  const startedMs = await containerdStartMs().catch(() => undefined)
  return changed !== undefined && startedMs !== undefined && startedMs < changed.mtimeMs
}

async function containerdStartMs(): Promise<number | undefined> {
  const bootSeconds = Number(/^btime (\d+)$/m.exec(await readFile('/proc/stat', 'utf8'))?.[1])
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    if (!line.includes('(containerd)')) continue
    // field 22, counted behind the name, which may hold anything
    const ticks = Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[19])
    return bootSeconds * 1000 + ticks * TICK_MS
  }
  return undefined
}
