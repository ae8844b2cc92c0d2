import { spawn } from 'node:child_process'

import { OperationError, systemCodeOf } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import type { Credential } from './credential.ts'

interface HelperOptions {
  readonly signal: AbortSignal
  readonly timeoutMs?: number
}

interface HelperOutput {
  readonly exitCode: number | null
  readonly text: string
}

const TIMEOUT_MS = 10_000
const MAX_OUTPUT_BYTES = 64 * 1024
const NOT_FOUND = /credentials not found|no credentials|credentials server URL/i
/** the name under which a helper hands out an identity token (docker login, Credential helper protocol) */
const TOKEN_USER = '<token>'

/**
 * Asks `docker-credential-<name> get` for a server. No shell, ten seconds, 64 KiB.
 * @returns undefined if the helper has none
 * @throws OperationError CREDENTIALS_INVALID: nothing of what the helper said is told
 */
export async function askCredentialHelper(
  name: string,
  server: string,
  { signal, timeoutMs = TIMEOUT_MS }: HelperOptions,
): Promise<Credential | undefined> {
  const program = `docker-credential-${name}`
  const { exitCode, text } = await run(program, server, { signal, timeoutMs })
  if (exitCode === 0) return parseAnswer(text, program)
  if (NOT_FOUND.test(text)) return undefined
  throw failed(program, exitCode === null ? 'it was stopped' : `it ended with ${exitCode}`)
}

async function run(
  program: string,
  server: string,
  { signal, timeoutMs }: { signal: AbortSignal; timeoutMs: number },
): Promise<HelperOutput> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<HelperOutput>()
  const child = spawn(program, ['get'], { stdio: ['pipe', 'pipe', 'ignore'], windowsHide: true })
  const stop = (error: unknown) => {
    child.kill('SIGKILL')
    child.stdout.destroy()
    reject(error)
  }
  const onAbort = () => stop(signal.reason)
  const timer = setTimeout(() => stop(failed(program, `no answer in ${timeoutMs} ms`)), timeoutMs)
  signal.addEventListener('abort', onAbort, { once: true })
  const chunks: Buffer[] = []
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > MAX_OUTPUT_BYTES) stop(failed(program, 'it says more than 64 KiB'))
  })
  // a helper that does not read its input says so by what it answers
  child.stdin.on('error', () => undefined)
  child.on('error', (thrown) =>
    stop(failed(program, `it cannot be started (${systemCodeOf(thrown) ?? 'unknown error'})`)),
  )
  child.on('close', (exitCode) => resolve({ exitCode, text: Buffer.concat(chunks).toString() }))
  child.stdin.end(server)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}

function parseAnswer(text: string, program: string): Credential | undefined {
  let answer: Record<string, unknown> | undefined
  try {
    answer = asRecord(JSON.parse(text))
  } catch {
    // told below, without the text
  }
  const { Username: username, Secret: secret } = answer ?? {}
  if (typeof username !== 'string' || typeof secret !== 'string') {
    throw failed(program, 'its answer is not {"Username","Secret"}')
  }
  if (secret === '') return undefined
  if (username === TOKEN_USER) return { kind: 'identity-token', token: secret }
  return { kind: 'basic', username, password: secret }
}

function failed(program: string, found: string): OperationError {
  return new OperationError('CREDENTIALS_INVALID', `credential helper ${program}: ${found}`, {
    details: { helper: program },
  })
}
