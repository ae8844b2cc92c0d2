import { hostsFoldersOf, isCriDisabled, setHostsFolder } from './containerd-config.ts'
import { mirrorUrl, type EnginePlan, type FileEdit, type PlanContext } from './engine-plan.ts'
import { editHostsFolder } from './hosts-folder.ts'
import { parseToml } from './toml-file.ts'

/**
 * containerd: hosts.toml for every registry, in the folder where its CRI plugin looks; where it looks nowhere,
 * config.toml is told.
 * @throws OperationError MIRROR_FILE_INVALID
 */
export async function planContainerd(context: PlanContext): Promise<EnginePlan> {
  const { tree, address, isOurs, folders } = context
  const config = await readConfig(context)
  const path = config.hostsFolder
  const configToml = `${folders.containerd}/config.toml`
  const naming: FileEdit[] = config.isDefault
    ? []
    : [
        {
          path: configToml,
          kind: 'other',
          insert: (text) => setHostsFolder(text, { folder: path, path: configToml }),
        },
      ]
  return {
    engine: 'containerd',
    title: 'every registry',
    edits: [
      ...(await editHostsFolder({ tree, path, mirror: mirrorUrl(address), isOurs })),
      ...(config.isCriDisabled ? [] : naming),
    ],
    folders: [],
    remarks: [
      ...(config.isCriDisabled
        ? ['Its CRI plugin is switched off: config.toml is left as it is.']
        : []),
      `\`ctr\` must be told: \`ctr images pull --hosts-dir ${path} …\`.`,
    ],
  }
}

/** What config.toml and the running containerd say of the folder with hosts.toml. */
export async function readConfig({
  tree,
  folders,
  hostsFolders,
}: Pick<PlanContext, 'tree' | 'folders' | 'hostsFolders'>): Promise<{
  hostsFolder: string
  /** there is one: named in config.toml, or known to the running containerd */
  isSet: boolean
  /** the running containerd has it without being told in this file */
  isDefault: boolean
  isCriDisabled: boolean
}> {
  const path = `${folders.containerd}/config.toml`
  const table = parseToml((await tree.read(path))?.text ?? '', path)
  const written = hostsFoldersOf(table)
  const found = hostsFolders !== undefined && hostsFolders.length > 0 ? hostsFolders : written
  // the last one: its _default hides no folder of a registry in those before
  const last = found.at(-1)
  return {
    hostsFolder: last ?? `${folders.containerd}/certs.d`,
    isSet: last !== undefined,
    isDefault: last !== undefined && written.length === 0,
    isCriDisabled: isCriDisabled(table),
  }
}
