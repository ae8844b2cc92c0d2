/** The few questions about mirrors that a Docker on this host answers. */
import { request, type IncomingMessage } from 'node:http'
import { once } from 'node:events'

import { asRecord } from '../oci/descriptor.ts'
import { deadline } from '../support/deadline.ts'
import type { DockerFacts } from './engine-plan.ts'

/** An answer of the engine: its status, and its body where that is not too long. */
export interface DockerAnswer {
  readonly status: number
  readonly body: string
}

const MAX_BODY_CHARS = 4 * 1024 * 1024
const ANSWER_MS = 15_000

/**
 * Asks a Docker.
 * @param target.socketPath of its socket
 * @throws the system's error where none answers
 */
export async function askDocker(
  target: { socketPath: string; method?: 'GET' | 'POST' | 'DELETE'; path: string },
  { signal, timeoutMs = ANSWER_MS }: { signal: AbortSignal; timeoutMs?: number },
): Promise<DockerAnswer> {
  const asked = request({
    ...target,
    agent: false,
    headers: { host: 'docker', connection: 'close' },
    signal: deadline(timeoutMs, signal),
  })
  asked.end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  asked.on('error', (error) => answer.destroy(error))
  let body = ''
  for await (const chunk of answer.setEncoding('utf8')) {
    body += chunk as string
    if (body.length > MAX_BODY_CHARS) break
  }
  return { status: answer.statusCode ?? 0, body }
}

/** What a Docker says of its store and its registries; undefined where none answers. */
export async function readDockerFacts(
  socketPath: string,
  signal: AbortSignal,
): Promise<DockerFacts | undefined> {
  try {
    const { status, body } = await askDocker({ socketPath, path: '/info' }, { signal })
    return status === 200 ? parseFacts(JSON.parse(body)) : undefined
  } catch {
    signal.throwIfAborted()
    // none there, or not for us: the files have to tell
    return undefined
  }
}

function parseFacts(value: unknown): DockerFacts {
  const facts = asRecord(value) ?? {}
  const registries = asRecord(facts['RegistryConfig']) ?? {}
  const indexes = Object.values(asRecord(registries['IndexConfigs']) ?? {}).map(asRecord)
  const insecure = indexes.filter((index) => index?.['Secure'] === false)
  const hosts = insecure.map((index) => index?.['Name'])
  return {
    version: textOf(facts['ServerVersion']),
    store: JSON.stringify(facts['DriverStatus'] ?? '').includes('io.containerd.snapshotter.v1')
      ? 'containerd'
      : 'graphdriver',
    mirrors: textsOf(registries['Mirrors']).map((mirror) => mirror.replace(/\/$/, '')),
    insecureRegistries: [...textsOf(hosts), ...textsOf(registries['InsecureRegistryCIDRs'])],
    dataRoot: textOf(facts['DockerRootDir']),
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : []
}
