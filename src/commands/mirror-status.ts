import { checkMirror } from '../mirror/check-mirror.ts'
import type { EngineState } from '../mirror/engine-check.ts'
import { readRecord } from '../mirror/mirror-record.ts'
import { deadline } from '../support/deadline.ts'
import type { Command, Invocation } from './command.ts'
import { openMirrorHost, type MirrorHost } from './mirror-host.ts'
import { printable } from './table.ts'

const TIMEOUT_MS = 5000
const WORDS = { hit: 'hit', missed: 'not hit', unproven: 'unproven', absent: 'none' } as const
const COLOURS = { hit: 'green', missed: 'red', unproven: 'yellow', absent: 'yellow' } as const

/** Asks every engine for an image that only the node knows, and looks whether the question came. */
export const mirrorStatus: Command = async (invocation) => {
  const { output, signal } = invocation
  const host = await openMirrorHost(invocation)
  const states = await lookAtEngines(host, signal)
  const { address } = host
  const areHit = states.every(({ state }) => state === 'hit')
  output.answer({ address, hit: areHit, engines: states }, () => render(states, output))
  return areHit ? 0 : 3
}

/** How each engine stands to the node. */
export async function lookAtEngines(
  host: MirrorHost,
  signal: AbortSignal,
): Promise<readonly EngineState[]> {
  const { tree, folders, docker, hostsFolders, engines, run } = host
  const record = await readRecord(host.stateDir)
  const isNodeRunning = await answers(host.address, signal)
  // a node that picks its port is where it was when the files were written, if anywhere
  const address = isNodeRunning ? host.address : (record.files[0]?.address ?? host.address)
  return await checkMirror(engines, {
    tree,
    folders,
    address,
    installedAddresses: new Map(record.files.map((file) => [file.engine, file.address])),
    isNodeRunning,
    ...(docker && { docker }),
    ...(hostsFolders && { hostsFolders }),
    run,
    canRunPrograms: tree.isThisHost,
    wasSeen: (tag) => wasSeen(address, tag, signal),
    signal,
  })
}

async function answers(address: string, signal: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(`http://${address}/healthz`, {
      signal: deadline(TIMEOUT_MS, signal),
    })
    await response.body?.cancel()
    return response.ok
  } catch {
    signal.throwIfAborted()
    return false
  }
}

async function wasSeen(address: string, tag: string, signal: AbortSignal): Promise<boolean> {
  try {
    const url = `http://${address}/api/v1/probes/${tag}`
    const response = await fetch(url, { signal: deadline(TIMEOUT_MS, signal) })
    const { probes } = (await response.json()) as { probes?: unknown }
    return Array.isArray(probes) && probes.length > 0
  } catch {
    signal.throwIfAborted()
    // an older node, or something else at its address: nothing was proven
    return false
  }
}

function render(states: readonly EngineState[], output: Invocation['output']): string {
  return states
    .flatMap(({ engine, state, message, hint, remarks }) => {
      const word = output.coloured(COLOURS[state], WORDS[state].padEnd(10))
      const indent = ' '.repeat(22)
      return [
        `${engine.padEnd(12)}${word}${printable(message)}`,
        ...remarks.map((remark) => `${indent}${printable(remark)}`),
        ...(hint === undefined ? [] : [`${indent}hint: ${printable(hint)}`]),
      ]
    })
    .join('\n')
}
