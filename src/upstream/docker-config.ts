import { readFile } from 'node:fs/promises'

import { OperationError, systemCodeOf } from '../errors.ts'
import { asRecord } from '../oci/descriptor.ts'
import { parseUserPassword, type Credential } from './credential.ts'

/** What Docker's config.json says about logins; keys are normalised: a host, or `host/path` as Podman writes it. */
export interface DockerConfig {
  readonly credentials: ReadonlyMap<string, Credential>
  readonly helpersByHost: ReadonlyMap<string, string>
  /** the helper for all other hosts */
  readonly helper: string | undefined
}

const MAX_FILE_BYTES = 4 * 1024 * 1024
const HELPER_NAME = /^[a-z0-9._-]+$/i
const DOCKER_HUB_NAMES: ReadonlySet<string> = new Set(['index.docker.io', 'registry-1.docker.io'])

/** The config of somebody who never logged in. */
export const NO_LOGINS: DockerConfig = {
  credentials: new Map(),
  helpersByHost: new Map(),
  helper: undefined,
}

/**
 * @returns undefined if there is no such file
 * @throws OperationError CREDENTIALS_INVALID: it cannot be read, or is no config.json; nothing of it is told
 */
export async function readDockerConfig(file: string): Promise<DockerConfig | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (thrown) {
    const code = systemCodeOf(thrown)
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw unusable(file, `it cannot be read (${code ?? 'unknown error'})`)
  }
  if (text.length > MAX_FILE_BYTES) throw unusable(file, 'it is larger than 4 MiB')
  return parseDockerConfig(text, file)
}

/** @throws OperationError CREDENTIALS_INVALID */
export function parseDockerConfig(text: string, file: string): DockerConfig {
  const document = asRecord(parseJson(text, file))
  if (!document) throw unusable(file, 'wanted a JSON object')
  const credentials = new Map<string, Credential>()
  for (const [key, entry] of entriesOf(document, 'auths', file)) {
    const credential = parseEntry(asRecord(entry))
    if (credential) credentials.set(normaliseKey(key), credential)
  }
  const helpersByHost = new Map<string, string>()
  for (const [key, name] of entriesOf(document, 'credHelpers', file)) {
    helpersByHost.set(normaliseKey(key), checkHelperName(name, file))
  }
  const store = document['credsStore'] || undefined
  return {
    credentials,
    helpersByHost,
    helper: store === undefined ? undefined : checkHelperName(store, file),
  }
}

/** The inline credential for a repository; the longest path wins (containers-auth.json.5). */
export function findInline(
  { credentials }: DockerConfig,
  registry: string,
  repository: string,
): Credential | undefined {
  const components = [registry, ...repository.split('/')]
  for (let length = components.length; length > 0; length -= 1) {
    const credential = credentials.get(components.slice(0, length).join('/'))
    if (credential) return credential
  }
  return undefined
}

/** `https://index.docker.io/v1/` is docker.io; a path counts only where no scheme is written, as with Podman. */
function normaliseKey(key: string): string {
  const hasScheme = /^https?:\/\//i.test(key)
  const [host = '', ...path] = key.replace(/^https?:\/\//i, '').split('/')
  const lower = host.toLowerCase()
  const registry = DOCKER_HUB_NAMES.has(lower) ? 'docker.io' : lower
  const below = path.filter((component) => component !== '')
  const isApiPath = /^v[12]$/.test(below[0] ?? '') && below.length === 1
  return hasScheme || isApiPath ? registry : [registry, ...below].join('/')
}

function parseEntry(entry: Record<string, unknown> | undefined): Credential | undefined {
  if (!entry) return undefined
  const { auth, identitytoken, registrytoken, username, password } = entry
  if (isText(registrytoken)) return { kind: 'registry-token', token: registrytoken }
  if (isText(identitytoken)) return { kind: 'identity-token', token: identitytoken }
  if (isText(auth)) return parseUserPassword(auth)
  return isText(username) && isText(password) ? { kind: 'basic', username, password } : undefined
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function entriesOf(
  document: Record<string, unknown>,
  key: string,
  file: string,
): [string, unknown][] {
  const value = document[key] ?? {}
  const record = asRecord(value)
  if (!record) throw unusable(file, `${key}: wanted a JSON object`)
  return Object.entries(record)
}

function checkHelperName(name: unknown, file: string): string {
  if (typeof name === 'string' && HELPER_NAME.test(name)) return name
  throw unusable(file, 'it names a credential helper by what is no name of a program')
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // the parser's message quotes the file
    throw unusable(file, 'it is not JSON')
  }
}

function unusable(file: string, found: string): OperationError {
  return new OperationError('CREDENTIALS_INVALID', `Docker configuration ${file}: ${found}`, {
    details: { file },
  })
}
