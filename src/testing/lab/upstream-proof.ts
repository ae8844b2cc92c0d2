/**
 * What every engine must show with a node before it: the first pull comes from upstream, by the
 * node; the second host has all from peers; whichever of node and upstream is away, the other one
 * serves. What the registry was asked is read from its own log, who served what from the nodes.
 */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { transfersOf } from './served-images.ts'
import type { DockerClient, PullClient } from './upstream-clients.ts'
import {
  makeAppImage,
  makeArtifact,
  makeEmptyLayerImage,
  makeIndexImage,
  makeManyLayersImage,
} from './upstream-images.ts'
import type { UpstreamImage } from './upstream-images.ts'
import { STAGE_REGISTRIES } from './upstream-stage.ts'
import type { StagePlace, StageRegistry, UpstreamStage } from './upstream-stage.ts'

const LARGE_MIB = 24
const NODE_AGENT = /^ddocker\//

const SPECIAL_IMAGES = {
  index: makeIndexImage,
  zstd: async () => await makeAppImage('zstd', { kind: 'zstd' }),
  docker: async () => await makeAppImage('docker', { kind: 'docker', mib: LARGE_MIB }),
  'forty-layers': makeManyLayersImage,
  'empty-layer': makeEmptyLayerImage,
} as const

/** A kind of image that some clients do not support. */
export type SpecialImage = keyof typeof SPECIAL_IMAGES

/** What is particular to an engine. */
export interface EngineProof<Client extends PullClient> {
  /** Starts it on a host. */
  open: (place: StagePlace) => Promise<Client>
  /** The name of an image of a registry, where it is not the registry's own. */
  nameOf?: (registry: StageRegistry, repository: string) => string
  /** Registries whose images it can pull while the node is stopped; both by default. */
  direct?: readonly StageRegistry[]
  /** Kinds of images that it does not support, with or without a node. */
  lacks?: readonly SpecialImage[]
  /** It reads images by the library of another one that is tried with all kinds. */
  isLikeAnother?: boolean
  /** Further steps, while everything runs. */
  also?: (t: TestContext, context: EngineProofContext<Client>) => Promise<void>
}

/** What further steps work with. */
export interface EngineProofContext<Client extends PullClient> {
  readonly stage: UpstreamStage
  readonly one: Client
  readonly two: Client
  nameOf: (registry: StageRegistry, repository: string) => string
}

interface Pull {
  readonly registry: StageRegistry
  readonly repository: string
  readonly image: UpstreamImage
}

/** Proves all of it, on a stage of its own. */
export async function proveEngine<Client extends PullClient>(
  t: TestContext,
  stage: UpstreamStage,
  proof: EngineProof<Client>,
): Promise<void> {
  await using one = await proof.open(stage.one)
  await using two = await proof.open(stage.two)
  const nameOf = proof.nameOf ?? ((registry, repository) => `${registry}/${repository}:1`)
  const context = { stage, one, two, nameOf }
  const direct = proof.direct ?? STAGE_REGISTRIES
  const push = async (name: string, registries: readonly StageRegistry[] = STAGE_REGISTRIES) =>
    await pushTo(stage, registries, `lab/${name}`, async () => await makeAppImage(name))
  const app = await push('app')
  const late = await push('late')
  const alone = await push('alone', direct)

  await t.test('the first pull comes from upstream, by the node', async () => {
    for (const pull of [...app, ...late]) await pullFromUpstream(context, pull)
  })
  await t.test('the second host has every byte from peers', async () => {
    for (const pull of app) await pullFromPeers(context, pull)
  })
  const [registry = 'docker.io'] = direct.toReversed()
  if (!proof.isLikeAnother) await proveKinds(t, context, { registry, lacks: proof.lacks ?? [] })
  await proveArtifact(t, context, registry)
  await proof.also?.(t, context)
  await t.test('with upstream stopped it comes from the swarm, which says so', async () => {
    await pullWithoutUpstream(context, late)
  })
  await t.test('with the node stopped it comes from upstream', async () => {
    await stage.one.node.stop()
    for (const pull of alone) await pullWithoutNode(context, pull)
  })
}

async function proveKinds(
  t: TestContext,
  context: EngineProofContext<PullClient>,
  { registry, lacks }: { registry: StageRegistry; lacks: readonly SpecialImage[] },
): Promise<void> {
  const kinds = Object.keys(SPECIAL_IMAGES) as SpecialImage[]
  for (const kind of kinds.filter((each) => !lacks.includes(each))) {
    await t.test(`${kind}: from upstream, then from peers`, async () => {
      const make = SPECIAL_IMAGES[kind]
      for (const pull of await pushTo(context.stage, [registry], `lab/${kind}`, make)) {
        await pullFromUpstream(context, pull)
        await pullFromPeers(context, pull)
      }
    })
  }
}

async function proveArtifact(
  t: TestContext,
  { stage, one, two, nameOf }: EngineProofContext<PullClient>,
  registry: StageRegistry,
): Promise<void> {
  const { pullArtifact: first } = one
  const { pullArtifact: second } = two
  if (!first || !second) return
  await t.test('an artifact that is no image: from upstream, then from peers', async () => {
    for (const pull of await pushTo(stage, [registry], 'lab/artifact', makeArtifact)) {
      const name = nameOf(pull.registry, pull.repository)
      await assertFromUpstream(stage, pull, async () => await first(name))
      await assertFromPeers(stage, pull, async () => await second(name))
    }
  })
}

async function pullFromUpstream(
  { stage, one, nameOf }: EngineProofContext<PullClient>,
  pull: Pull,
): Promise<void> {
  const name = nameOf(pull.registry, pull.repository)
  await assertFromUpstream(stage, pull, async () => await one.pull(name))
}

async function pullFromPeers(
  { stage, two, nameOf }: EngineProofContext<PullClient>,
  pull: Pull,
): Promise<void> {
  const name = nameOf(pull.registry, pull.repository)
  await assertFromPeers(stage, pull, async () => await two.pull(name))
  await assertFiles(two, name, pull.image)
}

async function pullWithoutUpstream(
  context: EngineProofContext<PullClient>,
  pulls: readonly Pull[],
): Promise<void> {
  const { stage } = context
  const upstreams = Object.values(stage.upstreams)
  for (const upstream of upstreams) await upstream.stop()
  try {
    for (const pull of pulls) {
      await pullFromPeers(context, pull)
      await assertSaysSo(stage.two, pull)
    }
  } finally {
    for (const upstream of upstreams) await upstream.restart()
  }
}

async function pullWithoutNode(
  { stage, one, nameOf }: EngineProofContext<PullClient>,
  pull: Pull,
): Promise<void> {
  const upstream = stage.upstreams[pull.registry]
  const since = await upstream.mark()
  const name = nameOf(pull.registry, pull.repository)
  await one.pull(name)
  await assertFiles(one, name, pull.image)
  const requests = await upstream.requests(since)
  assert.deepEqual(
    requests.filter(({ userAgent }) => NODE_AGENT.test(userAgent)),
    [],
  )
  assert.ok(requests.length > pull.image.layers.length, `${requests.length} requests`)
}

/** Compares every file of an image that was pulled, where the client runs containers. */
async function assertFiles(
  client: PullClient,
  name: string,
  { filesOutput }: UpstreamImage,
): Promise<void> {
  if (client.files) assert.equal(await client.files(name), filesOutput, name)
}

/** Proves that `FROM` of a Dockerfile is like a pull, with both builders of Docker. */
export async function proveBuilds(
  t: TestContext,
  { stage, one, two, nameOf }: EngineProofContext<DockerClient>,
): Promise<void> {
  for (const builder of ['classic', 'buildkit'] as const) {
    await t.test(`FROM, by the ${builder} builder: from upstream, then from peers`, async () => {
      const make = async () => await makeAppImage(builder)
      for (const pull of await pushTo(stage, STAGE_REGISTRIES, `lab/${builder}`, make)) {
        const name = nameOf(pull.registry, pull.repository)
        const buildBy = async (client: DockerClient) =>
          assert.equal(await client.build(name, builder), name)
        await assertFromUpstream(stage, pull, async () => await buildBy(one))
        await assertFromPeers(stage, pull, async () => await buildBy(two))
      }
    })
  }
}

/** Pushes an image of its own to each registry. */
export async function pushTo(
  stage: UpstreamStage,
  registries: readonly StageRegistry[],
  repository: string,
  make: () => UpstreamImage | Promise<UpstreamImage>,
): Promise<Pull[]> {
  const pulls: Pull[] = []
  for (const registry of registries) {
    const image = await make()
    await stage.upstreams[registry].push(repository, '1', image)
    pulls.push({ registry, repository, image })
  }
  return pulls
}

/**
 * Asserts that the node of host one brings all layers from upstream, each by one request, and that
 * nobody else asks upstream for anything.
 */
export async function assertFromUpstream(
  { upstreams, one }: UpstreamStage,
  { registry, repository, image }: Pull,
  pull: () => Promise<void>,
): Promise<void> {
  const since = await upstreams[registry].mark()
  await pull()
  await assertLayers(one, image, 'upstream')
  const requests = await upstreams[registry].requests(since)
  assert.deepEqual(
    requests.filter(({ userAgent }) => !NODE_AGENT.test(userAgent)),
    [],
  )
  const digests = [image.config, ...image.layers.map(({ digest }) => digest)]
  const optional = new Set(image.optional.map((digest) => blobTarget(repository, digest)))
  const blobs = (await upstreams[registry].blobRequests(since)).map(({ target }) => target)
  assert.equal(new Set(blobs).size, blobs.length, `asked twice: ${blobs.join('\n')}`)
  assert.deepEqual(
    blobs.filter((target) => !optional.has(target)).sort(),
    [...new Set(digests)].map((digest) => blobTarget(repository, digest)).sort(),
  )
}

/** Asserts that the node of host two brings all layers from peers, and none from upstream. */
export async function assertFromPeers(
  { upstreams, two }: UpstreamStage,
  { registry, image }: Pull,
  pull: () => Promise<void>,
): Promise<void> {
  const since = await upstreams[registry].mark()
  await pull()
  await assertLayers(two, image, 'peers')
  assert.deepEqual(await upstreams[registry].blobRequests(since), [])
  assert.deepEqual(
    (await upstreams[registry].requests(since)).filter(
      ({ userAgent }) => !NODE_AGENT.test(userAgent),
    ),
    [],
  )
}

function blobTarget(repository: string, digest: string): string {
  return `/v2/${repository}/blobs/${digest}`
}

async function assertLayers(
  { node }: StagePlace,
  { layers }: UpstreamImage,
  source: 'peers' | 'upstream',
): Promise<void> {
  const transfers = await transfersOf(node)
  for (const { digest, size } of new Map(layers.map((layer) => [layer.digest, layer])).values()) {
    assert.deepEqual(
      transfers
        .filter((transfer) => transfer.digest === digest)
        .map(({ state, bytes }) => ({ state, bytes })),
      [{ state: 'done', bytes: { store: 0, peers: 0, upstream: 0, [source]: size } }],
      `layer ${digest} of ${size} bytes`,
    )
  }
}

/** distribution-spec, Warnings. */
async function assertSaysSo({ host, node }: StagePlace, pull: Pull): Promise<void> {
  const { registry, repository, image } = pull
  const url = `http://127.0.0.1:5151/v2/${registry}/${repository}/manifests/1`
  const { stdout } = await host.run('curl', ['--silent', '--head', url])
  assert.match(stdout, /^warning: 299 - ".*signed record.*"\r$/im, stdout)
  await node.logged(new RegExp(`${image.root}.*signed record stands in for upstream`))
}
