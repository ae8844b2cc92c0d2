import { addBuildkitMirrors } from './buildkitd-config.ts'
import type { EnginePlan, PlanContext } from './engine-plan.ts'
import { KNOWN_REGISTRIES } from './known-registries.ts'

/**
 * A buildkitd of its own.
 * @throws OperationError MIRROR_FILE_INVALID
 */
export function planBuildkit({ address, folders, registries }: PlanContext): Promise<EnginePlan> {
  const path = `${folders.buildkit}/buildkitd.toml`
  const hosts = [...new Set([...KNOWN_REGISTRIES, ...registries])]
  return Promise.resolve({
    engine: 'buildkit',
    title: `${hosts.length} registries`,
    edits: [
      {
        path,
        kind: 'other',
        insert: (text) => addBuildkitMirrors(text, { address, registries: hosts, path }),
      },
    ],
    folders: [],
    remarks: [
      'Registries must be named one by one: add others with --also HOST.',
      `A docker-container builder has a network and a file of its own: \`docker buildx create --driver-opt network=host --buildkitd-config ${path}\`.`,
    ],
  })
}
