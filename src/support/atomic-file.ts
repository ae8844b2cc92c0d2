import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes the entries of a directory durable: a rename is not, before this. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Replaces a file so that a crash leaves the old or the new content, never a mixture.
 * @param options.mode of a new file, less the umask
 * @param options.owner given, the file gets it, and exactly that mode
 */
export async function writeFileAtomically(
  path: string,
  content: string | Uint8Array,
  { mode = 0o644, owner }: { mode?: number; owner?: { uid: number; gid: number } } = {},
): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const handle = await open(beside, 'wx', mode)
    try {
      await handle.writeFile(content)
      if (owner) {
        await handle.chown(owner.uid, owner.gid)
        await handle.chmod(mode)
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(beside, path)
    await syncDirectory(dirname(path))
  } finally {
    await rm(beside, { force: true })
  }
}
