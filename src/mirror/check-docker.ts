import { asRecord } from '../oci/descriptor.ts'
import { readDaemonSettings } from './daemon-json.ts'
import { askDocker } from './docker-api.ts'
import {
  commonObstacle,
  INSTALL_AGAIN,
  state,
  type CheckContext,
  type EngineState,
} from './engine-check.ts'
import { afterwardsOf, mirrorUrl, type DockerFacts } from './engine-plan.ts'
import { hiddenRegistries, hostsObstacle } from './hosts-check.ts'
import { DOCKER_IO_PROBE, newProbeTag, PROBE_REGISTRY, PROBE_REPOSITORY } from './probe-name.ts'

const QUESTION_MS = 20_000

/** Docker: with the containerd store a pull of an image that has no content, with the classic one its manifest. */
export async function checkDocker(context: CheckContext): Promise<EngineState> {
  const { docker, folders } = context
  const certs = `${folders.docker}/certs.d`
  if (!docker) {
    const obstacle = await fileObstacle(context)
    const hint = 'Start Docker, or name its socket with --docker-host.'
    const silent = state('docker', 'unproven', 'installed, but no Docker answers', { hint })
    if (obstacle?.state === 'absent') return obstacle
    return commonObstacle('docker', context) ?? obstacle ?? silent
  }
  const { facts } = docker
  const obstacle =
    facts.store === 'containerd'
      ? await hostsObstacle('docker', certs, context)
      : await mirrorObstacle(context, facts)
  if (obstacle?.state === 'absent') return obstacle
  const common = commonObstacle('docker', context)
  if (common ?? obstacle) return common ?? (obstacle as EngineState)
  return facts.store === 'containerd'
    ? probeContainerdStore(context, docker, await hiddenRegistries(certs, context))
    : probeClassicStore(context, docker)
}

type LiveDocker = NonNullable<CheckContext['docker']>

async function probeContainerdStore(
  context: CheckContext,
  { facts, socketPath }: LiveDocker,
  remarks: readonly string[],
): Promise<EngineState> {
  const tag = newProbeTag()
  const query = new URLSearchParams({ fromImage: `${PROBE_REGISTRY}/${PROBE_REPOSITORY}`, tag })
  const path = `/images/create?${query.toString()}`
  const said = await ask(context, { socketPath, method: 'POST', path })
  if (await context.wasSeen(tag)) {
    return state('docker', 'hit', `${facts.version}, containerd store, every registry`, { remarks })
  }
  return notSeen(facts, said)
}

/** Not by a pull: the engine would go on to docker.io itself when it finds nothing to fetch. */
async function probeClassicStore(
  context: CheckContext,
  { facts, socketPath }: LiveDocker,
): Promise<EngineState> {
  const tag = newProbeTag()
  const path = `/distribution/docker.io/${DOCKER_IO_PROBE}:${tag}/json`
  const said = await ask(context, { socketPath, path })
  if (await context.wasSeen(tag)) {
    const remarks = [
      `other registries as ${context.address}/<registry>/<name>: this store has mirrors for docker.io only`,
    ]
    return state('docker', 'hit', `${facts.version}, classic store, docker.io only`, { remarks })
  }
  return notSeen(facts, said)
}

function notSeen({ version }: DockerFacts, said: string): EngineState {
  return state('docker', 'missed', `${version} was asked, and did not ask the node: ${said}`, {
    hint: 'See whether this Docker is on this host, and reads the files named by `ddocker mirror install`.',
  })
}

/** What a running classic store has loaded counts, not what is in the file. */
async function mirrorObstacle(
  context: CheckContext,
  { mirrors }: DockerFacts,
): Promise<EngineState | undefined> {
  const mirror = mirrorUrl(context.address)
  const [first] = mirrors
  if (first === mirror) return undefined
  if (mirrors.includes(mirror)) {
    const hint = `Put ${mirror} in front of it in daemon.json.`
    return state('docker', 'missed', `another mirror comes first: ${first ?? ''}`, { hint })
  }
  const obstacle = await fileObstacle(context)
  if (obstacle) return obstacle
  return state('docker', 'missed', 'daemon.json names the node, and Docker has not read it yet', {
    hint: afterwardsOf('daemon.json') ?? '',
  })
}

/** What the files of a Docker say that is not asked. */
async function fileObstacle(context: CheckContext): Promise<EngineState | undefined> {
  const { tree, folders, address, docker } = context
  const path = `${folders.docker}/daemon.json`
  const { mirrors } = readDaemonSettings((await tree.read(path))?.text, path)
  if (mirrors.includes(mirrorUrl(address))) return undefined
  if (!docker) return hostsObstacle('docker', `${folders.docker}/certs.d`, context)
  return state('docker', 'absent', `${path} does not name the node`, { hint: INSTALL_AGAIN })
}

/** What the engine said in the end; no error of it is one of ours. */
async function ask(
  { signal }: CheckContext,
  request: { socketPath: string; method?: 'POST'; path: string },
): Promise<string> {
  try {
    const { status, body } = await askDocker(request, { signal, timeoutMs: QUESTION_MS })
    return wordsOf(body) ?? `status ${status}`
  } catch (error) {
    signal.throwIfAborted()
    return String(error)
  }
}

function wordsOf(body: string): string | undefined {
  for (const line of body.trim().split('\n').toReversed()) {
    try {
      const answer = asRecord(JSON.parse(line))
      const words = answer?.['message'] ?? asRecord(answer?.['errorDetail'])?.['message']
      if (typeof words === 'string') return words.slice(0, 300)
    } catch {
      // progress that was cut off
    }
  }
  return undefined
}
