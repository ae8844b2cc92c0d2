import { mirrorsOf } from './buildkitd-config.ts'
import {
  commonObstacle,
  INSTALL_AGAIN,
  state,
  type CheckContext,
  type EngineState,
} from './engine-check.ts'
import { KNOWN_REGISTRIES } from './known-registries.ts'
import { parseToml } from './toml-file.ts'

/** A buildkitd of its own: its file only, nothing asks it for a manifest alone. */
export async function checkBuildkit(context: CheckContext): Promise<EngineState> {
  const path = `${context.folders.buildkit}/buildkitd.toml`
  const table = parseToml((await context.tree.read(path))?.text ?? '', path)
  const { address } = context
  const led = KNOWN_REGISTRIES.filter((host) => mirrorsOf(table, host).includes(address))
  if (led.length === 0) {
    return state('buildkit', 'absent', `${path} does not name the node`, { hint: INSTALL_AGAIN })
  }
  const common = commonObstacle('buildkit', context)
  if (common) return common
  const behind = led.filter((host) => mirrorsOf(table, host)[0] !== address)
  if (behind.length > 0) {
    return state('buildkit', 'missed', `another mirror comes first for ${behind.join(', ')}`)
  }
  return state('buildkit', 'unproven', `installed for ${led.length} registries`, {
    hint: 'Build something, and look at `ddocker status`.',
  })
}
