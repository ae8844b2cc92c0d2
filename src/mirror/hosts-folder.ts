/** certs.d: a folder per registry, `_default` for all that have none (containerd, docs/hosts.md). */
import type { FileEdit } from './engine-plan.ts'
import { addMirrorHost, type HostsFolder } from './hosts-toml.ts'
import type { HostTree } from './host-tree.ts'

interface HostsFolderOptions {
  readonly tree: HostTree
  /** certs.d */
  readonly path: string
  /** `http://127.0.0.1:5151` */
  readonly mirror: string
  /** registries that get a file of their own though the user has made no folder for them */
  readonly insecureHosts?: readonly string[]
  readonly isOurs: (path: string) => boolean
}

/**
 * Puts the node in front of every registry: in `_default`, and in each folder of the user, which would hide it.
 * A folder with certificates only gets a file that names them: with hosts.toml they no longer count by themselves.
 */
export async function editHostsFolder(options: HostsFolderOptions): Promise<FileEdit[]> {
  const { tree, path, mirror, insecureHosts = [] } = options
  const own = await userFolders(options)
  const names = new Set([...own, ...insecureHosts])
  const edits = [hostsEdit(`${path}/_default/hosts.toml`, mirror)]
  for (const name of names) {
    const folder = await readHostsFolder(tree, `${path}/${name}`)
    const isInsecure = insecureHosts.includes(name)
    edits.push(
      hostsEdit(`${path}/${name}/hosts.toml`, mirror, {
        ...folder,
        ...(isInsecure && { insecureHost: name }),
      }),
    )
  }
  return edits
}

/** An edit that puts the node first in one hosts.toml. */
export function hostsEdit(path: string, mirror: string, folder?: HostsFolder): FileEdit {
  return {
    path,
    kind: 'hosts.toml',
    insert: (text) => addMirrorHost(text, { mirror, path, ...(folder && { folder }) }),
  }
}

/** Names of the folders that hide `_default`, without our own and that of the node itself. */
export async function userFolders({
  tree,
  path,
  mirror,
  isOurs,
}: Omit<HostsFolderOptions, 'insecureHosts'>): Promise<string[]> {
  const entries = await tree.list(path)
  return entries
    .filter(({ name, isFolder }) => isFolder && name !== '_default' && !mirror.endsWith(`/${name}`))
    .map(({ name }) => name)
    .filter((name) => !isOurs(`${path}/${name}`))
}

/** What the certificates in a folder mean while there is no hosts.toml beside them. */
async function readHostsFolder(tree: HostTree, path: string): Promise<HostsFolder> {
  const names = (await tree.list(path)).filter(({ isFolder }) => !isFolder).map(({ name }) => name)
  const clientPairs = names
    .filter((name) => name.endsWith('.cert'))
    .map((name) => [name, name.replace(/\.cert$/, '.key')] as const)
  return {
    authorities: names.filter((name) => name.endsWith('.crt')),
    clientPairs: clientPairs.filter(([, key]) => names.includes(key)),
  }
}
