import {
  commonObstacle,
  INSTALL_AGAIN,
  lastWords,
  state,
  type CheckContext,
  type EngineState,
} from './engine-check.ts'
import { KNOWN_REGISTRIES } from './known-registries.ts'
import { ownFile, registriesFiles } from './podman-plan.ts'
import { newProbeTag, PROBE_REGISTRY, PROBE_REPOSITORY } from './probe-name.ts'
import { entriesOf, isMirrored } from './registries-conf.ts'

/** Podman, else Skopeo, which reads the same files: the manifest of an image that has no content. */
export async function checkPodman(context: CheckContext): Promise<EngineState> {
  const files = await registriesFiles(context)
  const path = ownFile(context.folders)
  if (!files.some((file) => file.path === path)) {
    return state('podman', 'absent', `${path} is not there`, { hint: INSTALL_AGAIN })
  }
  const common = commonObstacle('podman', context)
  if (common) return common
  const { address } = context
  if (!isMirrored(files, { host: PROBE_REGISTRY, address })) {
    return state('podman', 'missed', `${path} does not lead to ${address}`, { hint: INSTALL_AGAIN })
  }
  const hosts = entriesOf(files).map(({ prefix }) => prefix)
  const covered = hosts.filter((host) => isMirrored(files, { host, address })).length - 1
  const left = KNOWN_REGISTRIES.filter((host) => !isMirrored(files, { host, address }))
  const remarks = left.length > 0 ? [`not ${left.join(', ')}: other files say otherwise`] : []
  return probe(context, {
    message: covered === 1 ? '1 registry' : `${covered} registries`,
    remarks,
  })
}

async function probe(
  context: CheckContext,
  hit: { message: string; remarks: readonly string[] },
): Promise<EngineState> {
  if (!context.canRunPrograms) {
    return state('podman', 'unproven', 'installed; the podman of this host reads another tree')
  }
  const tag = newProbeTag()
  const image = `${PROBE_REGISTRY}/${PROBE_REPOSITORY}:${tag}`
  let said = await context.run('podman', ['manifest', 'inspect', image])
  if (said.code === undefined) {
    said = await context.run('skopeo', ['inspect', '--raw', `docker://${image}`])
  }
  if (await context.wasSeen(tag)) {
    return state('podman', 'hit', hit.message, { remarks: hit.remarks })
  }
  if (said.code === undefined) {
    return state('podman', 'unproven', 'installed, but there is no podman or skopeo to ask with')
  }
  return state('podman', 'missed', `it did not ask the node: ${lastWords(said.stderr)}`, {
    hint: 'Read registries.conf and the files of registries.conf.d.',
  })
}
