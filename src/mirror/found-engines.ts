import { ENGINE_NAMES, type ConfigFolders, type EngineName } from './engine-plan.ts'
import { parseToml } from './toml-file.ts'
import { isCriDisabled } from './containerd-config.ts'
import type { HostTree } from './host-tree.ts'

const PROGRAM_FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin', '/opt/bin']
const PROGRAMS: Readonly<Record<EngineName, readonly string[]>> = {
  docker: ['dockerd'],
  containerd: ['containerd'],
  podman: ['podman', 'crio', 'buildah', 'skopeo'],
  buildkit: ['buildkitd'],
}

/** The engines that are installed in a tree: by their programs, or by the folder with their configuration. */
export async function findEngines(tree: HostTree, folders: ConfigFolders): Promise<EngineName[]> {
  const found: EngineName[] = []
  for (const engine of ENGINE_NAMES) {
    if (await isInstalled(tree, folders, engine)) found.push(engine)
  }
  const isDockers = found.includes('docker') && (await isOnlyDockers(tree, folders))
  return found.filter((engine) => engine !== 'containerd' || !isDockers)
}

async function isInstalled(
  tree: HostTree,
  folders: ConfigFolders,
  engine: EngineName,
): Promise<boolean> {
  const configuration = engine === 'podman' ? folders.containers : folders[engine]
  const programs = PROGRAMS[engine].flatMap((name) =>
    PROGRAM_FOLDERS.map((folder) => `${folder}/${name}`),
  )
  // a user's engine runs only where it was set up: programs are there for all users
  return tree.hasAny(
    folders.isRootless && engine !== 'podman' ? [configuration] : [configuration, ...programs],
  )
}

/** Docker brings a containerd without CRI along, which pulls nothing by itself. */
async function isOnlyDockers(tree: HostTree, folders: ConfigFolders): Promise<boolean> {
  const path = `${folders.containerd}/config.toml`
  const text = (await tree.read(path).catch(() => undefined))?.text
  try {
    return text !== undefined && isCriDisabled(parseToml(text, path))
  } catch {
    // planning will say what is wrong with it
    return false
  }
}
