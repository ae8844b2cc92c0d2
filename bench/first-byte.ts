/** How long a client of the door waits for the first byte of a layer: held here, and one peer away. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

import { pieceLength } from '../src/torrent/piece-length.ts'
import { makeBenchImage, type BenchImage } from './bench-image.ts'
import { ask, openNodes, type BenchNode } from './contenders/ddocker.ts'
import { drainHttp } from './drain-http.ts'
import { measureOptions } from './measure-options.ts'
import { printRow } from './row.ts'
import { percentile } from './statistics.ts'
import { openWorkDirectory } from './work-directory.ts'

const options = measureOptions({ blob: 8 * 2 ** 20, samples: 40 })
const PIECE_BYTES = pieceLength(options.blob)

await using work = await openWorkDirectory()
await using nodes = new AsyncDisposableStack()
const [seed, leecher] = await openNodes(nodes, { directory: work.path, count: 2 })
if (!seed || !leecher) throw new TypeError('wanted two nodes')
const images = await shareImages(seed)
await using plain = await servePlainly(images)

const waits = {
  peer: [] as number[],
  manifest: [] as number[],
  local: [] as number[],
  plain: [] as number[],
  piece: [] as number[],
}
for (const [index, image] of images.entries()) await measure(leecher, image, index)
report('first-byte-peer', waits.peer, waits.piece)
report('first-byte-local', waits.local, waits.plain)

/** An image each, so that nothing is known of a blob before it is asked for. */
async function shareImages({ operations }: BenchNode): Promise<BenchImage[]> {
  const made: BenchImage[] = []
  for (let index = 0; index < options.samples; index += 1) {
    const image = await makeBenchImage(join(work.path, `image-${index}`), options.blob)
    await ask(operations.import, { path: image.layoutPath, name: `bench-${index}:1` })
    made.push(image)
  }
  return made
}

async function measure({ node }: BenchNode, image: BenchImage, index: number): Promise<void> {
  const name = `/v2/local/bench-${index}`
  const manifest = await drainHttp(node.registry, `${name}/manifests/1`)
  waits.manifest.push(manifest.lastByteMs)
  const layer = `${name}/blobs/${image.digest}`
  waits.peer.push((await drainHttp(node.registry, layer)).firstByteMs)
  waits.local.push((await drainHttp(node.registry, layer)).firstByteMs)
  waits.plain.push((await drainHttp(plain.address, `/${index}`)).firstByteMs)
  waits.piece.push(await firstPieceMs(index))
}

/** No first byte may be given out before its piece is here and hashed: this is that, by plain HTTP. */
async function firstPieceMs(index: number): Promise<number> {
  const startedAtMs = performance.now()
  await drainHttp(plain.address, `/${index}?bytes=${PIECE_BYTES}`)
  createHash('sha1').update(Buffer.alloc(PIECE_BYTES)).digest()
  return performance.now() - startedAtMs
}

async function servePlainly(
  served: readonly BenchImage[],
): Promise<AsyncDisposable & { address: string }> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const image = served[Number(url.pathname.slice(1))]
    if (!image) return response.writeHead(404).end()
    const bytes = Number(url.searchParams.get('bytes') ?? image.size)
    response.writeHead(200, { 'content-length': bytes })
    return createReadStream(image.blobPath, { end: bytes - 1 }).pipe(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.close()
      await once(server, 'close')
    },
  }
}

function report(name: string, values: readonly number[], limits: readonly number[]): void {
  const params = { ...options, pieceBytes: PIECE_BYTES, inMemory: work.isInMemory }
  for (const [label, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
  ] as const) {
    printRow({
      name: `${name}-${label}`,
      unit: 'ms',
      value: percentile(values, share),
      limit: percentile(limits, share),
      baseline: { 'plain HTTP': percentile(waits.plain, share) },
      params: { ...params, manifestMs: percentile(waits.manifest, share) },
    })
  }
}
