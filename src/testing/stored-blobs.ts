import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { glob } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'

/** The names of all blobs of a data directory whose bytes are not those of their name. */
export async function wrongBlobs(dataDir: string): Promise<string[]> {
  const wrong: string[] = []
  for (const { name, hex } of await hashedBlobs(dataDir)) if (name !== hex) wrong.push(name)
  return wrong
}

/** All blobs of a data directory, with the SHA-256 of what lies there, hex. */
export async function hashedBlobs(dataDir: string): Promise<{ name: string; hex: string }[]> {
  const hashed: { name: string; hex: string }[] = []
  const cwd = join(dataDir, 'blobs/sha256')
  for await (const path of glob('*/*', { cwd })) {
    const hash = createHash('sha256')
    await pipeline(createReadStream(join(cwd, path)), hash)
    hashed.push({ name: basename(path), hex: hash.digest('hex') })
  }
  return hashed
}
