import { OperationError } from '../errors.ts'
import { addRegistryMirror, readDaemonSettings, type DaemonSettings } from './daemon-json.ts'
import { mirrorUrl, type EnginePlan, type FileEdit, type PlanContext } from './engine-plan.ts'
import { editHostsFolder, hostsEdit } from './hosts-folder.ts'

/** Which image store a Docker has, and how we know. */
export interface DockerStore {
  readonly store: 'graphdriver' | 'containerd' | 'unknown'
  readonly how: string
}

const GRAPHDRIVERS = [
  'overlay2',
  'fuse-overlayfs',
  'btrfs',
  'zfs',
  'vfs',
  'overlay',
  'aufs',
  'devicemapper',
]
const LOOPBACK = /^(?:127\.|\[?::1)|^localhost(?::|$)/
const FLAG_FILES = ['etc/default/docker', 'etc/systemd/system/docker.service']
const FLAG_FOLDERS = ['etc/systemd/system/docker.service.d']

/**
 * Docker: hosts.toml for every registry with the containerd store; with the classic one registry-mirrors, which
 * docker.io alone knows, and hosts.toml for the BuildKit inside.
 * @throws OperationError MIRROR_FILE_INVALID
 */
export async function planDocker(context: PlanContext): Promise<EnginePlan> {
  const path = `${context.folders.docker}/daemon.json`
  const text = (await context.tree.read(path))?.text
  const settings = readDaemonSettings(text, path)
  const found = await storeOf(context, settings)
  const plan = found.store === 'graphdriver' ? planClassicStore : planContainerdStore
  return plan(context, { settings, found })
}

/** Asks the engine, else its settings, else the folders in its data root. */
export async function storeOf(
  { docker, tree }: Pick<PlanContext, 'docker' | 'tree'>,
  settings: DaemonSettings,
): Promise<DockerStore> {
  if (docker) return { store: docker.store, how: 'as the engine says' }
  if (settings.isContainerdStore !== undefined) {
    const store = settings.isContainerdStore ? 'containerd' : 'graphdriver'
    return { store, how: 'as daemon.json says' }
  }
  const { dataRoot } = settings
  const layers = GRAPHDRIVERS.map((driver) => `${dataRoot}/image/${driver}/layerdb`)
  if (await tree.hasAny(layers)) return { store: 'graphdriver', how: `by what is in ${dataRoot}` }
  return { store: 'unknown', how: 'no engine answers' }
}

interface DockerFindings {
  readonly settings: DaemonSettings
  readonly found: DockerStore
}

async function planContainerdStore(
  context: PlanContext,
  { settings, found }: DockerFindings,
): Promise<EnginePlan> {
  const mirror = mirrorUrl(context.address)
  const insecure = insecureRegistries(context, settings)
  refuseRanges(insecure.ranges, `${context.folders.docker}/daemon.json`)
  const isUnknown = found.store === 'unknown'
  return {
    engine: 'docker',
    title: isUnknown
      ? `store unknown (${found.how}): every registry, if it is the containerd store`
      : `containerd store (${found.how}): every registry`,
    ...(await hostsParts(context, insecure.hosts)),
    remarks: [
      ...(isUnknown
        ? ['With the classic store, start Docker and run this again: it reads other files.']
        : []),
      ...(settings.mirrors.includes(mirror) &&
      !context.isOurs(`${context.folders.docker}/daemon.json`)
        ? [
            `daemon.json names ${mirror} too: take it out, it weakens the check of docker.io's certificate.`,
          ]
        : []),
    ],
  }
}

async function planClassicStore(
  context: PlanContext,
  { settings, found }: DockerFindings,
): Promise<EnginePlan> {
  const { address, folders, tree } = context
  const mirror = mirrorUrl(address)
  await refuseFlag(tree)
  const path = `${folders.docker}/daemon.json`
  const daemonJson: FileEdit = {
    path,
    kind: 'daemon.json',
    insert: (text) => addRegistryMirror(text, { mirror, path }),
  }
  const insecure = insecureRegistries(context, settings)
  // BuildKit reads both: hosts.toml keeps it from the trap of registry-mirrors over plain HTTP
  const hosts =
    insecure.ranges.length === 0
      ? await hostsParts(context, insecure.hosts)
      : {
          edits: [hostsEdit(`${folders.docker}/certs.d/docker.io/hosts.toml`, mirror)],
          folders: [],
        }
  return {
    engine: 'docker',
    title: `classic store (${found.how}): docker.io only`,
    edits: [daemonJson, ...hosts.edits],
    folders: hosts.folders,
    remarks: [
      `Other registries have no mirror in this store: \`docker pull ${address}/ghcr.io/<name>\` goes through the node.`,
    ],
  }
}

async function hostsParts(
  context: PlanContext,
  insecureHosts: readonly string[],
): Promise<Pick<EnginePlan, 'edits' | 'folders'>> {
  const { tree, folders, address, isOurs } = context
  const path = `${folders.docker}/certs.d`
  const hasPort = (host: string) => /:\d+$/.test(host) && !host.endsWith(':80')
  const edits = await editHostsFolder({
    tree,
    path,
    mirror: mirrorUrl(address),
    insecureHosts: insecureHosts.filter(hasPort),
    isOurs,
  })
  // An empty folder hides _default, so that insecure-registries counts as before; in hosts.toml there is no way to
  // say "TLS without a check, else none" of a registry without a port.
  const bare = insecureHosts.filter((host) => !hasPort(host)).map((host) => `${path}/${host}`)
  const shown = edits.filter((edit) => !bare.some((folder) => edit.path.startsWith(`${folder}/`)))
  return { edits: shown, folders: bare }
}

/** With several hosts for a registry Docker ignores insecure-registries (moby, daemon/hosts.go). */
function insecureRegistries(
  { docker }: PlanContext,
  settings: DaemonSettings,
): { hosts: string[]; ranges: string[] } {
  const all = new Set([...settings.insecureRegistries, ...(docker?.insecureRegistries ?? [])])
  const others = [...all].filter((entry) => !LOOPBACK.test(entry))
  return {
    hosts: others.filter((entry) => !entry.includes('/')),
    ranges: others.filter((entry) => entry.includes('/')),
  }
}

function refuseRanges(ranges: readonly string[], path: string): void {
  if (ranges.length === 0) return
  throw new OperationError(
    'MIRROR_FILE_INVALID',
    `${path}: insecure-registries holds the range ${ranges.join(', ')}, which Docker ignores beside a mirror ` +
      'for every registry; wanted the registries in it one by one, as host:port',
  )
}

/** dockerd does not start when a setting is in daemon.json and among its flags. */
async function refuseFlag(tree: PlanContext['tree']): Promise<void> {
  const inFolders = await Promise.all(
    FLAG_FOLDERS.map(async (folder) =>
      (await tree.list(`/${folder}`))
        .filter(({ name }) => name.endsWith('.conf'))
        .map(({ name }) => `${folder}/${name}`),
    ),
  )
  for (const file of [...FLAG_FILES, ...inFolders.flat()]) {
    const text = (await tree.read(`/${file}`))?.text ?? ''
    if (!/^[^#;\n]*--registry-mirror/m.test(text)) continue
    throw new OperationError(
      'MIRROR_FILE_INVALID',
      `/${file}: dockerd gets --registry-mirror here and would not start with the same in daemon.json; move it there first`,
    )
  }
}
