/**
 * An image whose layers take as long to extract as to download, pulled by Docker with its classic store: it downloads
 * three layers side by side and extracts one after the other. A node that brings the lowest layer first lets both
 * go on at once. Needs root, as never-slower.ts.
 */
import { randomBytes } from 'node:crypto'

import { orderedSeconds, sharedSeconds } from './layer-order-bounds.ts'
import { measureOptions } from './measure-options.ts'
import { pushImage, randomLayer, type LayerPlan } from './never-slower-image.ts'
import { nameThrough, openPullStage, timePull } from './never-slower-stage.ts'
import { printRow } from './row.ts'
import { median } from './statistics.ts'
import { openWorkDirectory } from './work-directory.ts'

const MIB = 1024 * 1024
const IMAGE = 'bench/order:1'
const FIRST = 'bench/first:1'
// performance.md, 1.7: what of the rate of a tbf link is left for bytes of a body
const GOODPUT_SHARE = 0.956
const BLOCK_BYTES = 8192

const options = measureOptions({
  layers: 4,
  layer: 16 * MIB,
  /** of the tar to the layer */
  expansion: 16,
  repetitions: 5,
})

await using work = await openWorkDirectory()
await using stage = await openPullStage()
const { registry, registryHost, engine } = stage
const target = { registry, host: registryHost, directory: work.path }
await pushImage(target, FIRST, [randomLayer(1000)])
const plans = Array.from({ length: options.layers }, slowLayer)
const sizes = await pushImage(target, IMAGE, plans)
const imageBytes = sizes.reduce((sum, size) => sum + size, 0)

const extractSeconds = await measureExtraction()
const bytesPerSecond = imageBytes / extractSeconds
const rate = `${Math.round((bytesPerSecond * 8) / GOODPUT_SHARE / 1000)}kbit`
process.stderr.write(`extraction ${extractSeconds.toFixed(2)} s, so the link has ${rate}\n`)
const [direct, ordered]: [number[], number[]] = [[], []]
for (let repetition = 0; repetition < options.repetitions; repetition += 1) {
  if (repetition % 2 === 0) direct.push(await pullDirectly())
  ordered.push(await pullThroughNewNode(repetition))
  if (repetition % 2 === 1) direct.push(await pullDirectly())
  process.stderr.write(
    `direct ${direct.at(-1)?.toFixed(2)} s, ours ${ordered.at(-1)?.toFixed(2)} s\n`,
  )
}
report()

/** With a link that costs nothing a pull is its extraction; the least of three, as nothing can make it shorter. */
async function measureExtraction(): Promise<number> {
  const [empty, whole]: [number[], number[]] = [[], []]
  for (let round = 0; round < 3; round += 1) {
    empty.push(await timePull(engine, `${registry}/${FIRST}`))
    whole.push(await timePull(engine, `${registry}/${IMAGE}`))
  }
  return Math.min(...whole) - Math.min(...empty)
}

async function pullDirectly(): Promise<number> {
  return await timeAtRate(`${registry}/${IMAGE}`)
}

/** A node that holds nothing of the image, with its first pull behind it. */
async function pullThroughNewNode(repetition: number): Promise<number> {
  const node = await stage.startNode(`order${repetition}`)
  await timePull(engine, nameThrough(node, registry, FIRST))
  const seconds = await timeAtRate(nameThrough(node, registry, IMAGE))
  await node.stop()
  return seconds
}

async function timeAtRate(reference: string): Promise<number> {
  await registryHost.setRate(rate)
  const seconds = await timePull(engine, reference)
  await registryHost.setRate(undefined)
  return seconds
}

/** Compresses well, and yet each of its layers has bytes of its own: every block stands there many times. */
function slowLayer(): LayerPlan {
  const name = randomBytes(8).toString('hex')
  const entries = () => {
    const content = Buffer.alloc(options.layer * options.expansion)
    const step = BLOCK_BYTES * options.expansion
    for (let start = 0; start < content.length; start += step) {
      content.fill(randomBytes(BLOCK_BYTES), start, start + step)
    }
    return [{ name, content }]
  }
  return { level: 6, entries }
}

function report(): void {
  const layers = sizes.map((bytes) => ({
    downloadSeconds: bytes / bytesPerSecond,
    extractSeconds: extractSeconds / options.layers,
  }))
  const theory = { direct: sharedSeconds(layers), ordered: orderedSeconds(layers) }
  printRow({
    name: 'layer-order',
    unit: 's',
    value: median(ordered),
    limit: 0.9 * median(direct),
    baseline: {
      direct: median(direct),
      'direct (computed)': theory.direct,
      'in order (computed)': theory.ordered,
    },
    params: {
      ...options,
      limitIs: '0.9 × direct',
      rate,
      extractSeconds,
      sizes,
      theoreticalRatio: theory.ordered / theory.direct,
      ratio: median(ordered) / median(direct),
      all: { direct, ordered },
    },
  })
}
