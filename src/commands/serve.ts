import { once } from 'node:events'

import { loadConfig } from '../config/load-config.ts'
import { compileWasmOnce, tameHeap } from '../support/engine-flags.ts'
import type { Command, Invocation } from './command.ts'
import type { ReadyNode } from './node-module.ts'

/** Runs the node until a signal comes, then drains it. */
export const serve: Command = async ({ flags, host, output, signal, loadNode }) => {
  compileWasmOnce()
  tameHeap({ isTransferring: false })
  const config = await loadConfig(flags, host)
  const [{ openNode }, { openLog }] = await Promise.all([loadNode(), import('../telemetry/log.ts')])
  const isTerminal = output.stderr.isTTY === true
  const log = openLog({ level: config.logLevel, isTerminal })
  await using node = await openNode(config, { log, signal, isolatesPeers: true })
  // Libraries have thrown out of their listeners before: what nobody caught is logged, and the pulls under way go on.
  process.on('uncaughtException', (error) => log.error({ err: error }, 'unexpected failure'))
  // a program waits for this line: it is alone on stdout, whatever else is asked for
  output.stdout.write(`ready ${JSON.stringify(node.ready)}\n`)
  if (isTerminal) welcome(output, node.ready)
  if (!signal.aborted) await once(signal, 'abort')
  log.info('draining')
  return 0
}

function welcome(output: Invocation['output'], { registry, nodeName }: ReadyNode): void {
  output.note(`
  node      ${nodeName}
  status    http://${registry}/
  pull      docker pull ${registry}/<image>
  share     ddocker seed <image>
  invite    ddocker swarm invite
`)
}
