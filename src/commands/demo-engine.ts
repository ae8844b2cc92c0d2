import { spawn } from 'node:child_process'
import { once } from 'node:events'

import type { Invocation } from './command.ts'

interface Ran {
  readonly exitCode: number
  readonly stdout: string
}

const MAX_OUTPUT_CHARS = 64 * 1024

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
    const pulled = await this.#run(['pull', reference], true)
    if (pulled.exitCode !== 0) return false
    await this.#run(['images', '--digests', reference.replace(/:[^:/]*$/, '')], true)
    await this.#run(['image', 'rm', '--force', reference], false)
    return true
  }

  async #run(args: readonly string[], isShown: boolean): Promise<Ran> {
    const { output, signal, host } = this.#invocation
    if (isShown) output.note(`   $ docker ${args.join(' ')}`)
    const child = spawn('docker', args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...host.environment },
      signal,
    })
    let stdout = ''
    const take = (chunk: Buffer) => {
      const text = chunk.toString('utf8')
      if (stdout.length < MAX_OUTPUT_CHARS) stdout += text
      if (isShown) output.note(indent(text))
    }
    child.stdout.on('data', take)
    child.stderr.on('data', (chunk: Buffer) => {
      if (isShown) output.note(indent(chunk.toString('utf8')))
    })
    try {
      const [exitCode] = (await once(child, 'close')) as [number | null]
      return { exitCode: exitCode ?? 1, stdout }
    } catch {
      signal.throwIfAborted()
      return { exitCode: 127, stdout }
    }
  }
}

function indent(text: string): string {
  return text.trimEnd().replaceAll(/^/gm, '   ')
}
