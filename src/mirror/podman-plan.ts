import type { EnginePlan, PlanContext } from './engine-plan.ts'
import { KNOWN_REGISTRIES } from './known-registries.ts'
import { PROBE_REGISTRY } from './probe-name.ts'
import { makeRegistriesConf, type RegistriesFile } from './registries-conf.ts'

const OWN_FILE = '50-ddocker.conf'

/**
 * Podman, Buildah, Skopeo and CRI-O: one file in registries.conf.d.
 * @throws OperationError MIRROR_FILE_INVALID
 */
export async function planPodman(context: PlanContext): Promise<EnginePlan> {
  const { address, folders, registries } = context
  const path = ownFile(folders)
  const files = (await registriesFiles(context)).filter((file) => file.path !== path)
  const isLater = ({ path: other }: RegistriesFile) => dirOf(other) === dirOf(path) && other > path
  const conf = makeRegistriesConf({
    address,
    registries: [...KNOWN_REGISTRIES, ...registries, PROBE_REGISTRY],
    before: files.filter((file) => !isLater(file)),
    later: files.filter(isLater),
  })
  const count = conf.registries.filter((host) => host !== PROBE_REGISTRY).length
  return {
    engine: 'podman',
    title: `${count} registries, for Buildah, Skopeo and CRI-O too`,
    edits: [
      {
        path,
        kind: 'other',
        insert: (text) => (text === undefined ? [{ offset: 0, text: conf.text }] : []),
      },
    ],
    folders: [],
    remarks: [
      'Registries must be named one by one: add others with --also HOST.',
      ...conf.notes,
      ...((await context.tree.hasAny(['/usr/bin/crio', '/usr/local/bin/crio']))
        ? ['CRI-O reads it again after `systemctl reload crio`.']
        : []),
    ],
  }
}

/** Ours. */
export function ownFile({ containers }: PlanContext['folders']): string {
  return `${containers}/registries.conf.d/${OWN_FILE}`
}

/** All files that count, in the order in which they are read. */
export async function registriesFiles({
  tree,
  folders,
}: Pick<PlanContext, 'tree' | 'folders'>): Promise<RegistriesFile[]> {
  const system = '/etc/containers'
  const own = folders.containers
  const main = (await tree.read(`${own}/registries.conf`)) ? own : system
  const paths = [`${main}/registries.conf`]
  for (const base of new Set([system, own])) {
    const entries = await tree.list(`${base}/registries.conf.d`)
    const names = entries.filter(({ name, isFolder }) => !isFolder && name.endsWith('.conf'))
    paths.push(...names.map(({ name }) => `${base}/registries.conf.d/${name}`))
  }
  const files = await Promise.all(
    paths.map(async (path) => ({ path, text: (await tree.read(path))?.text })),
  )
  return files.flatMap(({ path, text }) => (text === undefined ? [] : [{ path, text }]))
}

function dirOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}
