import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { connectNode } from '../control/control-client.ts'
import type { NodeOperations } from '../control/control-protocol.ts'
import { OperationError } from '../errors.ts'
import { abortable, deadline } from '../support/deadline.ts'
import type { ReadyNode } from './node-module.ts'

export interface DemoNodeOptions {
  readonly name: string
  /** holds the data directory and the log of every node */
  readonly folder: string
  readonly swarmKeyFile: string
  /** loopback addresses only */
  readonly discovery: string
  /** bytes per second */
  readonly uploadLimit: number
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly signal: AbortSignal
}

const PROGRAM = fileURLToPath(new URL('../../bin/ddocker.js', import.meta.url))
const START_MS = 30_000
const MEET_MS = 10_000
const MEET_POLL_MS = 100
const EXIT_MS = 500
const LOG_LINES = 12

/** A node of the demo: a real process, as `ddocker serve` starts it. */
export class DemoNode implements AsyncDisposable {
  readonly name: string
  readonly ready: ReadyNode
  readonly operations: Required<NodeOperations>
  readonly #child: ChildProcess
  readonly #options: DemoNodeOptions

  private constructor(options: DemoNodeOptions, child: ChildProcess, ready: ReadyNode) {
    this.name = options.name
    this.ready = ready
    this.operations = connectNode(dataDirOf(options))
    this.#child = child
    this.#options = options
  }

  /** @throws OperationError NODE_FAILED with the end of its log */
  static async start(options: DemoNodeOptions): Promise<DemoNode> {
    const log = openSync(logOf(options), 'a')
    const child = spawn(process.execPath, [PROGRAM, 'serve', ...flagsOf(options)], {
      stdio: ['ignore', 'pipe', log],
      env: withoutOptions(options.environment),
    })
    closeSync(log)
    try {
      return new DemoNode(options, child, await readReadyLine(child, options))
    } catch (error) {
      await kill(child)
      throw error
    }
  }

  /** Waits until it has met another node; on a busy machine that takes a moment, and it goes on without. */
  async meeting(signal: AbortSignal): Promise<void> {
    const giveUpAtMs = performance.now() + MEET_MS
    while (performance.now() < giveUpAtMs) {
      const options = { signal, report: () => undefined }
      const { peers } = await this.operations.peers({}, options)
      if (peers.length > 0) return
      await sleep(MEET_POLL_MS, undefined, { signal })
    }
  }

  /** @returns what to say of a node that ended by itself; undefined while it runs */
  async failure(): Promise<OperationError | undefined> {
    // a broken connection is seen before the end of the process is
    await once(this.#child, 'exit', { signal: AbortSignal.timeout(EXIT_MS) }).catch(() => undefined)
    const { exitCode, signalCode } = this.#child
    if (exitCode === null && signalCode === null) return undefined
    return await failureOf(this.#options, `ended by itself (${exitCode ?? signalCode})`)
  }

  /** kill -9: no goodbye to anybody. */
  async kill(): Promise<void> {
    await kill(this.#child)
  }

  /** The demo is over, nothing of it is kept: there is nothing to drain for. */
  async [Symbol.asyncDispose](): Promise<void> {
    await kill(this.#child)
  }
}

function dataDirOf({ folder, name }: DemoNodeOptions): string {
  return join(folder, name)
}

function logOf({ folder, name }: DemoNodeOptions): string {
  return join(folder, `${name}.log`)
}

function flagsOf(options: DemoNodeOptions): string[] {
  const { name, swarmKeyFile, discovery, uploadLimit } = options
  const values = {
    'data-dir': dataDirOf(options),
    'node-name': name,
    registry: '127.0.0.1:0',
    'peer-host': '127.0.0.1',
    'peer-port': '0',
    'swarm-key-file': swarmKeyFile,
    discovery,
    'docker-host': 'none',
    upstream: 'off',
    'upload-limit': String(uploadLimit),
  }
  return Object.entries(values).flatMap(([flag, value]) => [`--${flag}`, value])
}

/** The options of the person's own node are not those of the demo's. */
function withoutOptions(
  environment: DemoNodeOptions['environment'],
): Record<string, string | undefined> {
  const kept = Object.entries(environment).filter(([name]) => !/^(?:DDOCKER_|DOCKER_)/.test(name))
  return Object.fromEntries(kept)
}

async function readReadyLine(child: ChildProcess, options: DemoNodeOptions): Promise<ReadyNode> {
  const { promise: ended, reject } = Promise.withResolvers<never>()
  child.once('error', reject)
  child.once('exit', () => reject(new Error('it ended')))
  const signal = deadline(START_MS, options.signal)
  try {
    return await abortable(Promise.race([firstReady(child), ended]), signal)
  } catch (cause) {
    options.signal.throwIfAborted()
    throw await failureOf(options, 'did not start', cause)
  }
}

async function failureOf(
  options: DemoNodeOptions,
  what: string,
  cause?: unknown,
): Promise<OperationError> {
  const log = (await readFile(logOf(options), 'utf8')).trimEnd().split('\n').slice(-LOG_LINES)
  const message = `node ${options.name} ${what}; the end of its log:\n${log.join('\n')}`
  return new OperationError('NODE_FAILED', message, { cause })
}

async function firstReady({ stdout }: ChildProcess): Promise<ReadyNode> {
  if (!stdout) throw new TypeError('stdout is a pipe')
  for await (const line of createInterface({ input: stdout })) {
    if (line.startsWith('ready ')) return JSON.parse(line.slice('ready '.length)) as ReadyNode
  }
  throw new Error('it closed its output')
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}
