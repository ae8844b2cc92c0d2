import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A secret that must be seen nowhere, and all the forms in which it could be. */
export interface Canary {
  readonly username: string
  readonly password: string
  /** as in an Authorization header */
  readonly basic: string
  readonly forms: readonly string[]
}

/** Makes a secret that nothing else looks like. */
export function makeCanary(name: string): Canary {
  const username = `${name}-user`
  const password = `${name}-${randomBytes(12).toString('hex')}`
  const pair = Buffer.from(`${username}:${password}`)
  const bare = Buffer.from(password)
  return {
    username,
    password,
    basic: `Basic ${pair.toString('base64')}`,
    forms: [
      password,
      // without the padding, so that both alphabets of base64 are found
      ...[pair, bare].flatMap((bytes) => [
        bytes.toString('base64').replaceAll('=', ''),
        bytes.toString('base64url'),
        bytes.toString('hex'),
      ]),
    ],
  }
}

/** The names of those that can be read in a text. */
export function canariesIn(text: Buffer | string, canaries: readonly Canary[]): string[] {
  const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text)
  return canaries
    .filter(({ forms }) => forms.some((form) => bytes.includes(form)))
    .map(({ username }) => username)
}

/** The files below a folder in which a canary can be read: in their names or in what they hold. */
export async function filesWithCanaries(
  folder: string,
  canaries: readonly Canary[],
): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const content = entry.isFile() ? await readFile(path) : Buffer.alloc(0)
    const names = [...canariesIn(path, canaries), ...canariesIn(content, canaries)]
    if (names.length > 0) found.push(`${path}: ${names.join(', ')}`)
  }
  return found
}
