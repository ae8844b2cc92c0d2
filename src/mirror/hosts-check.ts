import { mirrorUrl, type EngineName } from './engine-plan.ts'
import { INSTALL_AGAIN, state, type CheckContext, type EngineState } from './engine-check.ts'
import { hostsIn, isMirrorFirst, missingCapabilities } from './hosts-toml.ts'
import { parseToml } from './toml-file.ts'

/** What keeps the `_default` of a certs.d from leading to the node; undefined where nothing does. */
export async function hostsObstacle(
  engine: EngineName,
  certs: string,
  { tree, address }: Pick<CheckContext, 'tree' | 'address'>,
): Promise<EngineState | undefined> {
  const path = `${certs}/_default/hosts.toml`
  const text = (await tree.read(path))?.text
  if (text === undefined) {
    return state(engine, 'absent', `${path} is not there`, { hint: INSTALL_AGAIN })
  }
  const mirror = mirrorUrl(address)
  const table = parseToml(text, path)
  if (isMirrorFirst(table, mirror)) return undefined
  const hosts = hostsIn(table)
  if (!hosts.includes(mirror)) {
    return state(engine, 'missed', `${path} does not name ${mirror}`, { hint: INSTALL_AGAIN })
  }
  if (hosts[0] !== mirror) {
    const hint = `Put ${mirror} in front of it.`
    return state(engine, 'missed', `${path} names ${hosts[0] ?? ''} first`, { hint })
  }
  const lacking = missingCapabilities(table, mirror).join(' and ')
  const hint = 'Write capabilities = ["pull", "resolve"].'
  return state(engine, 'missed', `${path} lacks the capability ${lacking}`, { hint })
}

/** Registries whose own folder hides `_default`, and does not lead to the node. */
export async function hiddenRegistries(
  certs: string,
  { tree, address }: Pick<CheckContext, 'tree' | 'address'>,
): Promise<string[]> {
  const hidden: string[] = []
  for (const { name, isFolder } of await tree.list(certs)) {
    if (!isFolder || name === '_default' || name === address) continue
    const path = `${certs}/${name}/hosts.toml`
    const text = (await tree.read(path))?.text ?? ''
    if (!isMirrorFirst(parseToml(text, path), mirrorUrl(address))) hidden.push(name)
  }
  return hidden.length === 0
    ? []
    : [
        `not ${hidden.join(', ')}: ${hidden.length === 1 ? 'its' : 'their'} own folder in ${certs} comes before _default`,
      ]
}
