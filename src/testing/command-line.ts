import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import type { NodeModule } from '../commands/node-module.ts'
import { runProgram } from '../commands/program.ts'
import type { NodeOperations } from '../control/control-protocol.ts'
import { ControlServer } from '../control/control-server.ts'
import { silentLog } from '../telemetry/log.ts'
import { fakeOperations } from './fake-operations.ts'

export interface Said {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

interface LineOptions {
  readonly signal?: AbortSignal
  readonly environment?: Readonly<Record<string, string>>
  readonly nodeModule?: NodeModule
  /** columns of stderr, as if it were a terminal */
  readonly terminal?: { readonly columns: number; readonly rows: number }
}

/** Runs one command line in this process, as a user without options of their own would. */
export async function runLine(argv: readonly string[], options: LineOptions = {}): Promise<Said> {
  const { signal = new AbortController().signal, environment = {}, nodeModule, terminal } = options
  const stdout: string[] = []
  const stderr: string[] = []
  const exitCode = await runProgram({
    argv,
    stdout: { write: (text) => stdout.push(text) },
    stderr: { write: (text) => stderr.push(text), ...(terminal && { isTTY: true, ...terminal }) },
    signal,
    loadNode: () =>
      nodeModule ? Promise.resolve(nodeModule) : Promise.reject(new TypeError('no node here')),
    host: {
      environment,
      hostName: 'laptop',
      homeDir: '/nonexistent',
      workingDir: '/nonexistent',
      isRoot: false,
    },
  })
  return { exitCode, stdout: stdout.join(''), stderr: stderr.join('') }
}

/** An empty data directory that goes with the test. */
export async function makeDataDir(t: TestContext): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), 'ddocker-command-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  return dataDir
}

/** A data directory whose node does what the test says. */
export async function startFakeNode(
  t: TestContext,
  given: Partial<NodeOperations>,
): Promise<string> {
  const dataDir = await makeDataDir(t)
  const operations = fakeOperations(given)
  const server = await ControlServer.open({ dataDir, operations, log: silentLog, drainMs: 50 })
  t.after(() => server[Symbol.asyncDispose]())
  return dataDir
}
