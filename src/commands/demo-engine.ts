import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

import type { Invocation } from './command.ts'

interface Ran {
  readonly exitCode: number
  readonly stdout: string
}

const MAX_LINES = 1000
const REMOVE_MS = 10_000

/** The end of the demo where a Docker engine answers: its own pull from a node, and what it holds then. */
export class DemoEngine {
  readonly #invocation: Pick<Invocation, 'output' | 'signal' | 'host'>
  readonly version: string

  private constructor(invocation: Pick<Invocation, 'output' | 'signal' | 'host'>, version: string) {
    this.#invocation = invocation
    this.version = version
  }

  /** @returns undefined where there is no docker command, or no engine behind it */
  static async find(
    invocation: Pick<Invocation, 'output' | 'signal' | 'host'>,
  ): Promise<DemoEngine | undefined> {
    const asked = new DemoEngine(invocation, '')
    const found = await asked.#run(['version', '--format', '{{.Server.Version}}'], false)
    const version = found.stdout.trim()
    return found.exitCode === 0 && version !== '' ? new DemoEngine(invocation, version) : undefined
  }

  /** Pulls for real, shows the image, and removes it again. @returns whether the engine took it */
  async pull(reference: string): Promise<boolean> {
    try {
      const { exitCode } = await this.#run(['pull', reference], true)
      if (exitCode === 0) await this.#run(['images', reference.replace(/:[^:/]*$/, '')], true)
      return exitCode === 0
    } finally {
      // an interrupted demo leaves nothing either
      await this.#run(['image', 'rm', '--force', reference], false, AbortSignal.timeout(REMOVE_MS))
    }
  }

  async #run(
    args: readonly string[],
    isShown: boolean,
    signal = this.#invocation.signal,
  ): Promise<Ran> {
    const { output, host } = this.#invocation
    if (isShown) output.note(`   $ docker ${args.join(' ')}`)
    const child = spawn('docker', args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...host.environment },
      signal,
    })
    const lines: string[] = []
    for (const input of [child.stdout, child.stderr]) {
      createInterface({ input }).on('line', (line) => {
        if (isShown) output.note(`   ${line}`)
        if (input === child.stdout && lines.length < MAX_LINES) lines.push(line)
      })
    }
    try {
      const [exitCode] = (await once(child, 'close')) as [number | null]
      return { exitCode: exitCode ?? 1, stdout: lines.join('\n') }
    } catch {
      this.#invocation.signal.throwIfAborted()
      return { exitCode: 127, stdout: '' }
    }
  }
}
