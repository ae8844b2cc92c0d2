import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** What a path is to be: the content of a file, a link to somewhere, or a folder. */
export type HostEntrySpec =
  | string
  | Uint8Array
  | { readonly link: string }
  | { readonly text: string; readonly mode: number }
  | null

/** Fills a folder; `null` makes an empty folder. */
export async function fillHost(
  root: string,
  entries: Readonly<Record<string, HostEntrySpec>>,
): Promise<void> {
  for (const [path, entry] of Object.entries(entries)) {
    const real = join(root, path)
    await mkdir(entry === null ? real : dirname(real), { recursive: true })
    if (entry === null) continue
    if (typeof entry === 'string' || entry instanceof Uint8Array) await writeFile(real, entry)
    else if ('link' in entry) await symlink(entry.link, real)
    else {
      await writeFile(real, entry.text)
      await chmod(real, entry.mode)
    }
  }
}

/** Everything below a folder: each path with its kind, mode, owner and content. */
export async function snapshotHost(root: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const path of (await readdir(root, { recursive: true })).sort()) {
    const real = join(root, path)
    const about = await lstat(real)
    const owner = `${(about.mode & 0o7777).toString(8)} ${about.uid}:${about.gid}`
    if (about.isSymbolicLink()) found[path] = `-> ${await readlink(real)}`
    else if (about.isDirectory()) found[path] = `folder ${owner}`
    else found[path] = `file ${owner} ${(await readFile(real)).toString('base64')}`
  }
  return found
}
