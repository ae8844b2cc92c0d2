/**
 * The demo tells one story with real processes: ada holds an image, ben and cleo pull it at the same time, ada is
 * killed as soon as every piece has left it once, and the two finish with each other's pieces. The limits make it
 * last some ten seconds: ada sends one copy in SEED_SECONDS, the others pass pieces on more slowly, so that
 * there is something left to do when ada is gone.
 */
import { join } from 'node:path'

import { OperationError } from '../errors.ts'
import { formatByteSize, parseByteSize } from '../support/byte-size.ts'
import { formatDurationMs } from '../support/duration.ts'
import type { Command, Invocation } from './command.ts'
import { DemoEngine } from './demo-engine.ts'
import { makeDemoImage, type DemoImage } from './demo-image.ts'
import type { DemoNode } from './demo-node.ts'
import { DemoPull, pullTogether } from './demo-pull.ts'
import { DemoStage } from './demo-stage.ts'
import { verifyImage } from './demo-verify.ts'
import { openDemoView, renderExchange, type DemoView, type PullerState } from './demo-view.ts'
import { withoutProgress } from './node-access.ts'
import { formatRate, shortDigest } from './wording.ts'

/** Everybody and everything in the story. */
interface Cast {
  readonly invocation: Invocation
  readonly stage: DemoStage
  readonly image: DemoImage
  /** bytes of all layers */
  readonly size: number
  readonly seeder: DemoNode
  readonly pullers: readonly DemoNode[]
}

interface Pulled {
  readonly states: readonly PullerState[]
  /** since the pulls began; absent where they were quicker than the kill */
  readonly killedAtMs?: number
  readonly ms: number
}

const SEEDER = 'ada'
const PULLERS = ['ben', 'cleo'] as const
const NAME = 'ddocker-demo:1'
const SWARM_NAME = `local/${NAME}`
const MIN_BYTES = 3 * 1024 * 1024
const MAX_BYTES = 1024 ** 3
const SEED_SECONDS = 6
const PASS_ON_SHARE = 0.2
/** pieces that are under way go under with ada: they must be at a puller before */
const UNDER_WAY_BYTES = 1024 * 1024
/** no progress for so long: pieces were lost with ada, and it has to come back */
const STALL_MS = 8000

/** The whole thing on one machine, offline. */
export const demo: Command = async (invocation) => {
  const size = parseSize(invocation.flags['size'])
  say(invocation, 'ddocker demo: three nodes on this machine; nothing leaves it\n')
  await using stage = await DemoStage.open(invocation)
  const cast = await prepare(invocation, stage, size)
  const pulled = await pullAndKill(cast)
  await verify(cast)
  const tookIt = await pullWithEngine(cast)
  conclude(cast, pulled, tookIt)
  return tookIt === false ? 3 : 0
}

async function prepare(invocation: Invocation, stage: DemoStage, wanted: number): Promise<Cast> {
  const layout = join(stage.folder, 'image')
  const rate = Math.ceil(wanted / SEED_SECONDS)
  const [image, seeder] = await Promise.all([
    makeDemoImage(layout, { size: wanted, seed: 'ddocker demo', created: new Date() }),
    stage.start(SEEDER, { meets: [], uploadLimit: rate }),
  ])
  const size = image.layers.reduce((sum, layer) => sum + layer.size, 0)
  const pullers = await Promise.all(
    PULLERS.map((name) =>
      stage.start(name, { meets: [seeder], uploadLimit: Math.ceil(rate * PASS_ON_SHARE) }),
    ),
  )
  const names = [SEEDER, ...PULLERS].join(', ')
  say(invocation, `1  ${names} are up, in a swarm of their own: ${stage.swarmId}`)
  const request = { path: layout, name: NAME }
  await withoutProgress(invocation, seeder.operations.import, request)
  await Promise.all(pullers.map((node) => node.meeting(invocation.signal)))
  const layers = `${image.layers.length} layers, ${formatByteSize(size)}`
  say(invocation, `2  ${SEEDER} shares an image made on the spot: ${SWARM_NAME}, ${layers}`)
  return { invocation, stage, image, size, seeder, pullers }
}

async function pullAndKill(cast: Cast): Promise<Pulled> {
  const { invocation, image, pullers, size } = cast
  const limit = formatRate(size / SEED_SECONDS)
  say(invocation, `3  ${PULLERS.join(' and ')} pull it at the same time; ${SEEDER} sends ${limit}`)
  const startedAtMs = performance.now()
  const pulls = pullers.map((node) => new DemoPull(node, image))
  using view = openDemoView(invocation.output)
  const fate = new SeederFate(cast, view)
  await pullTogether(pulls, {
    reference: SWARM_NAME,
    view,
    onLook: (states) => fate.onLook(states),
    signal: invocation.signal,
  })
  const { killedAtMs } = fate
  return {
    states: pulls.map(({ state }) => state),
    ms: performance.now() - startedAtMs,
    ...(killedAtMs !== undefined && { killedAtMs: killedAtMs - startedAtMs }),
  }
}

/** Ends the seeder when every piece has left it once, and brings it back if that was too early after all. */
class SeederFate {
  readonly #cast: Cast
  readonly #view: DemoView
  readonly #startedAtMs = performance.now()
  #progressAtMs = performance.now()
  #done = 0
  #isBack = false
  killedAtMs: number | undefined

  constructor(cast: Cast, view: DemoView) {
    this.#cast = cast
    this.#view = view
  }

  async onLook(states: readonly PullerState[]): Promise<void> {
    const nowMs = performance.now()
    const done = states.reduce((sum, state) => sum + state.done, 0)
    if (done !== this.#done) [this.#done, this.#progressAtMs] = [done, nowMs]
    const isOver = states.every((state) => state.done >= state.size)
    if (isOver) return
    if (this.killedAtMs === undefined) await this.#killWhenCopied(states, nowMs)
    else if (!this.#isBack && nowMs - this.#progressAtMs > STALL_MS) await this.#bringBack()
  }

  async #killWhenCopied(states: readonly PullerState[], nowMs: number): Promise<void> {
    const { seeder, image } = this.#cast
    if (!image.layers.every(({ digest }) => hasLeftOnce(digest, states))) return
    this.killedAtMs = nowMs
    await seeder.kill()
    const after = formatDurationMs(nowMs - this.#startedAtMs)
    this.#view.tell(
      `4  ${SEEDER} is killed after ${after}: every piece has left it, the others go on alone`,
    )
  }

  async #bringBack(): Promise<void> {
    const { stage, size, pullers } = this.#cast
    this.#isBack = true
    this.#view.tell(`   some pieces had left ${SEEDER} only twice: it starts again`)
    await stage.start(SEEDER, { meets: pullers, uploadLimit: Math.ceil(size / SEED_SECONDS) })
  }
}

/** Whether every piece of a layer is at one of the pullers, as far as can be told from outside. */
function hasLeftOnce(digest: string, states: readonly PullerState[]): boolean {
  const layers = states.flatMap((state) => state.layers.filter((layer) => layer.digest === digest))
  const sent = layers.reduce((sum, layer) => sum + (layer.bytesBySender.get(SEEDER) ?? 0), 0)
  return layers.some(({ size, done }) => done >= size || sent >= size + UNDER_WAY_BYTES)
}

async function verify({ invocation, pullers, image }: Cast): Promise<void> {
  const { signal } = invocation
  const check = (node: DemoNode) => verifyImage(node, { image, name: SWARM_NAME, signal })
  await Promise.all(pullers.map(check))
  const digests = image.layers.map(({ digest }) => shortDigest(digest)).join(', ')
  say(invocation, `5  read back from both registries, every SHA-256 is right: ${digests}`)
}

/** @returns undefined where there is no engine, or none is wanted */
async function pullWithEngine({ invocation, pullers }: Cast): Promise<boolean | undefined> {
  const [node] = pullers
  if (invocation.flags['engine'] === false || !node) return undefined
  const engine = await DemoEngine.find(invocation)
  if (!engine) {
    say(invocation, '6  no Docker engine answers here: its docker pull is left out')
    return undefined
  }
  say(invocation, `6  Docker ${engine.version} pulls it from ${node.name}:`)
  return await engine.pull(`${node.ready.registry}/${SWARM_NAME}`)
}

function conclude(cast: Cast, pulled: Pulled, tookIt: boolean | undefined): void {
  const { invocation, image, size } = cast
  const { states, killedAtMs, ms } = pulled
  const sent = states.reduce((sum, state) => sum + (state.bytesBySender.get(SEEDER) ?? 0), 0)
  const received = states.map(({ name, bytesBySender }) => ({
    nodeName: name,
    bytesFrom: Object.fromEntries(bytesBySender),
  }))
  const document = {
    image: { reference: SWARM_NAME, digest: image.digest, size },
    received,
    copiesSentBySeeder: sent / size,
    killedAtMs: killedAtMs ?? null,
    pulledMs: ms,
    verified: true,
    engine: tookIt ?? null,
  }
  invocation.output.answer(document, () => {
    const copies = (sent / size).toFixed(2)
    return [
      '',
      renderExchange([SEEDER, ...PULLERS], states),
      '',
      `Two nodes had ${formatByteSize(size)} each after ${formatDurationMs(ms)}; ${SEEDER} sent ${copies} copies.`,
      ...(tookIt === false ? ['The Docker engine did not take it: see its words above.'] : []),
      'Next: `ddocker serve` on two hosts, `ddocker swarm invite` on one, `ddocker swarm join` on the other.',
    ].join('\n')
  })
}

function say({ output }: Pick<Invocation, 'output'>, text: string): void {
  output.note(text)
}

function parseSize(value: unknown): number {
  const size = parseByteSize(String(value))
  if (size >= MIN_BYTES && size <= MAX_BYTES) return size
  throw new OperationError('USAGE', `--size: wanted 3MiB to 1GiB, found "${String(value)}"`)
}
