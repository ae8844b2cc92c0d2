/**
 * Child processes of a test. Every wait has a deadline, output is captured and bounded, and a child
 * never outlives the test process: it leads its own process group, and the kernel kills it when
 * the test process dies (PR_SET_PDEATHSIG).
 */
import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'

const SETPRIV = '/usr/bin/setpriv'
const CAPTURE_LIMIT_CHARS = 16 * 1024 * 1024
const TAIL_CHARS = 4000
const DRAIN_MS = 2000

/** How a child is started. */
export interface ChildOptions {
  /** Shown in error messages; the program's name by default. */
  name?: string
  cwd?: string
  /** Added to the environment of this process; `undefined` removes a variable. */
  env?: Record<string, string | undefined>
  /** A wrapper such as `host.prefix`: the command line that runs a program in a namespace. */
  prefix?: readonly string[]
}

/** How a command is run to its end. */
export interface RunOptions extends ChildOptions {
  input?: string | Buffer
  /** Default 60 000. */
  timeoutMs?: number
  signal?: AbortSignal
}

/** What a finished command left: `code` is null when a signal ended it. */
export interface CommandResult {
  stdout: string
  stderr: string
  code: number | null
}

/** How a child ended. */
export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** A running child process with captured output. Disposing stops it. */
export class Child {
  readonly name: string
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #changes = new EventEmitter()
  readonly #closed: Promise<Exit>
  readonly #outputEnd = Promise.withResolvers<void>()
  #exit: Exit | undefined
  #stdout = ''
  #stderr = ''

  constructor(command: string, args: readonly string[], options: ChildOptions = {}) {
    this.name = options.name ?? command
    this.#changes.setMaxListeners(0)
    const [program, argv] = withParentDeathSignal([...(options.prefix ?? []), command, ...args])
    this.#child = spawn(program, argv, {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      // A node that runs in a test is not itself a test file.
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    })
    this.#capture(this.#child.stdout, (text) => (this.#stdout = bounded(this.#stdout + text)))
    this.#capture(this.#child.stderr, (text) => (this.#stderr = bounded(this.#stderr + text)))
    // A child that closes its stdin early is no failure of the test.
    this.#child.stdin.on('error', () => {})
    this.#closed = this.#watchEnd()
  }

  /** The process id; 0 when the program could not be started. */
  get pid(): number {
    return this.#child.pid ?? 0
  }

  get stdin(): Writable {
    return this.#child.stdin
  }

  /** Everything written so far (the newest 16 Mi characters). */
  get stdout(): string {
    return this.#stdout
  }

  get stderr(): string {
    return this.#stderr
  }

  /** How it ended, or undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#exit
  }

  /**
   * Waits until a line of stdout or stderr matches, those already written included.
   * @param options.timeoutMs default 30 000
   * @throws Error when the child ends first or the deadline passes; the message shows its output
   */
  async waitForLine(
    pattern: RegExp,
    options: { timeoutMs?: number; from?: 'stdout' | 'stderr' } = {},
  ): Promise<RegExpMatchArray> {
    const find = (): RegExpMatchArray | undefined => firstMatch(this.#lines(options.from), pattern)
    return await this.waitFor(find, { what: `a line ${pattern}`, ...options })
  }

  /**
   * Waits until `probe` gives something; it is asked again after each output of the child.
   * @param options.timeoutMs default 30 000
   */
  async waitFor<T>(
    probe: () => T | undefined,
    options: { what: string; timeoutMs?: number },
  ): Promise<T> {
    const deadline = AbortSignal.timeout(options.timeoutMs ?? 30_000)
    for (;;) {
      const found = probe()
      if (found !== undefined) return found
      if (this.#exit !== undefined) throw this.#failure(`ended before ${options.what}`)
      if (deadline.aborted) throw this.#failure(`timed out waiting for ${options.what}`)
      await once(this.#changes, 'change', { signal: deadline }).catch(() => undefined)
    }
  }

  /** Waits for the end, output included. @throws Error when the deadline passes */
  async waitForExit(options: { timeoutMs?: number } = {}): Promise<Exit> {
    if (await this.#endsWithin(options.timeoutMs ?? 30_000)) return await this.#closed
    throw this.#failure('timed out waiting for its end')
  }

  /** Sends a signal to the child's whole process group. */
  signal(signal: NodeJS.Signals): void {
    if (this.pid === 0) return
    try {
      process.kill(-this.pid, signal)
    } catch {
      // The group has ended already, which is what every caller wants to be true in the end.
    }
  }

  /** SIGTERM, then SIGKILL after the grace time. Idempotent. @param options.graceMs default 10 000 */
  async stop(options: { graceMs?: number } = {}): Promise<Exit> {
    this.signal('SIGTERM')
    if (await this.#endsWithin(options.graceMs ?? 10_000)) return await this.#closed
    return await this.kill()
  }

  /** SIGKILL, and wait for the end. */
  async kill(): Promise<Exit> {
    this.signal('SIGKILL')
    return await this.waitForExit()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    // What the child left behind in its group goes too.
    this.signal('SIGKILL')
  }

  #capture(stream: Readable, keep: (text: string) => void): void {
    stream.setEncoding('utf8').on('data', (text: string) => {
      keep(text)
      this.#changes.emit('change')
    })
  }

  async #watchEnd(): Promise<Exit> {
    const exit = await new Promise<Exit>((resolve) => {
      this.#child.once('error', (error) => {
        this.#stderr += `${error.message}\n`
        this.#outputEnd.resolve()
        resolve({ code: 127, signal: null })
      })
      this.#child.once('exit', (code, signal) => {
        this.#closeOutput()
        resolve({ code, signal })
      })
    })
    await this.#outputEnd.promise
    this.#exit = exit
    this.#changes.emit('change')
    return exit
  }

  /** Output is read to its end, but a grandchild that holds the pipe open gets only a moment. */
  #closeOutput(): void {
    const giveUp = setTimeout(() => {
      this.#child.stdout.destroy()
      this.#child.stderr.destroy()
    }, DRAIN_MS)
    this.#child.once('close', () => {
      clearTimeout(giveUp)
      this.#outputEnd.resolve()
    })
  }

  /** Complete lines, and after the end of the child the unfinished last one too. */
  #lines(from: 'stdout' | 'stderr' | undefined): string[] {
    const texts =
      from === undefined
        ? [this.#stdout, this.#stderr]
        : [from === 'stdout' ? this.#stdout : this.#stderr]
    return texts.flatMap((text) => {
      const lines = text.split('\n')
      return this.#exit === undefined ? lines.slice(0, -1) : lines
    })
  }

  async #endsWithin(ms: number): Promise<boolean> {
    const timer = Promise.withResolvers<boolean>()
    const timeout = setTimeout(() => timer.resolve(false), ms)
    const ended = await Promise.race([this.#closed.then(() => true), timer.promise])
    clearTimeout(timeout)
    return ended
  }

  #failure(reason: string): Error {
    const end = this.#exit === undefined ? 'running' : `exit ${JSON.stringify(this.#exit)}`
    const output = `--- stdout\n${tail(this.#stdout)}\n--- stderr\n${tail(this.#stderr)}`
    return new Error(`${this.name} (${end}) ${reason}\n${output}`)
  }
}

/**
 * Runs a command to its end. A failing command is a result, not an exception.
 * @throws Error when the deadline passes or the signal aborts; the command is killed before
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<CommandResult> {
  options.signal?.throwIfAborted()
  await using child = new Child(command, args, options)
  const onAbort = (): void => child.signal('SIGKILL')
  options.signal?.addEventListener('abort', onAbort, { once: true })
  child.stdin.end(options.input)
  try {
    const { code } = await child.waitForExit({ timeoutMs: options.timeoutMs ?? 60_000 })
    options.signal?.throwIfAborted()
    return { stdout: child.stdout, stderr: child.stderr, code }
  } finally {
    options.signal?.removeEventListener('abort', onAbort)
    child.signal('SIGKILL')
  }
}

/** Like `run`, for a command that must succeed: any other exit code than 0 is an Error. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<CommandResult> {
  return mustSucceed(await run(command, args, options), [command, ...args].join(' '))
}

/** Gives the result back when its code is 0. @throws Error with the output otherwise */
export function mustSucceed(result: CommandResult, what: string): CommandResult {
  if (result.code === 0) return result
  const output = `--- stdout\n${tail(result.stdout)}\n--- stderr\n${tail(result.stderr)}`
  throw new Error(`${what}: exit code ${result.code}\n${output}`)
}

/** Command line flags of a table: `{ root: '/x' }` is `--root /x`; undefined leaves one out. */
export function flags(values: Record<string, string | undefined>): string[] {
  return Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, value],
  )
}

function withParentDeathSignal(argv: readonly string[]): [string, string[]] {
  const all = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'SIGKILL', ...argv] : [...argv]
  const [program = '', ...rest] = all
  return [program, rest]
}

function firstMatch(lines: readonly string[], pattern: RegExp): RegExpMatchArray | undefined {
  for (const line of lines) {
    const match = line.match(pattern)
    if (match !== null) return match
  }
  return undefined
}

function bounded(text: string): string {
  return text.length > CAPTURE_LIMIT_CHARS ? text.slice(-CAPTURE_LIMIT_CHARS) : text
}

function tail(text: string): string {
  return text.length > TAIL_CHARS ? `…${text.slice(-TAIL_CHARS)}` : text
}
