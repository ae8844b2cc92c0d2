import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { cp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'

import { Catalog } from '../catalog/catalog.ts'
import { parseDigest, type Digest } from '../oci/digest.ts'
import {
  catalogOf,
  contentOf,
  VICTIM_NAME,
  VICTIM_NODE_ID,
  VICTIM_PIECE_LENGTH,
} from '../testing/crash-victim.ts'
import { Child, run } from '../testing/lab/child.ts'
import { requireLab } from '../testing/lab/lab-requirements.ts'
import { SeededRandom } from '../testing/seeded-random.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { DiskBlobStore } from './disk-blob-store.ts'
import { storePaths } from './paths.ts'

const VICTIM = join(import.meta.dirname, '../testing/crash-victim.ts')

/** What the victims of one data directory said, and what must be true after each of them. */
class Oracle {
  readonly #dataDir: string
  readonly #seeds = new Map<Digest, number>()
  readonly #kept = new Set<Digest>()
  readonly #checked = new Set<Digest>()
  #sequence = 0

  constructor(dataDir: string) {
    this.#dataDir = dataDir
  }

  get keptCount(): number {
    return this.#kept.size
  }

  get sequence(): number {
    return this.#sequence
  }

  hear(output: string): void {
    // the last line may have been cut off
    for (const line of output.split('\n').slice(0, -1)) {
      const [verb, ...words] = line.split(' ')
      if (verb === 'blob') this.#seeds.set(parseDigest(words[1]), Number(words[0]))
      if (verb === 'kept') this.#kept.add(parseDigest(words[0]))
      if (verb === 'removing') this.#kept.delete(parseDigest(words[0]))
      if (verb === 'named') this.#sequence = Number(words[0])
    }
  }

  /**
   * Opens what the victim left, and holds it to what was said.
   * @param options.isExact the victim came to its own end: what it did not acknowledge is not there
   */
  async examine({ isExact = false } = {}): Promise<void> {
    const where = catalogOf(this.#dataDir)
    await using catalog = await Catalog.open(where)
    const sequence = await catalog.lastSequence(VICTIM_NAME, VICTIM_NODE_ID)
    assert.ok((sequence ?? 0) >= this.#sequence, 'an acknowledged sequence was forgotten')
    await using store = await DiskBlobStore.open({ dataDir: this.#dataDir })
    for (const digest of this.#kept) assert.ok(await store.has(digest), `${digest} was lost`)
    const found = await Array.fromAsync(store.list(), ({ digest }) => digest)
    if (isExact) assert.deepEqual(found.sort(), [...this.#kept].sort())
    await this.#examineBlobs(store)
    assert.deepEqual(await readdir(storePaths(this.#dataDir).tmp), [])
    await this.#examinePartials(store)
  }

  /** Every file under blobs/, acknowledged or not, has the bytes that its name promises. */
  async #examineBlobs(store: DiskBlobStore): Promise<void> {
    const { blobs } = storePaths(this.#dataDir)
    const entries = await readdir(blobs, { recursive: true, withFileTypes: true })
    for (const { name, parentPath } of entries.filter((entry) => entry.isFile())) {
      const digest = parseDigest(`sha256:${name}`)
      if (this.#checked.has(digest)) continue
      const hash = createHash('sha256').update(await readFile(join(parentPath, name)))
      assert.equal(hash.digest('hex'), name, 'a blob has other bytes than its name says')
      assert.equal((await stat(join(parentPath, name))).mode & 0o777, 0o444)
      assert.ok(await store.has(digest))
      this.#checked.add(digest)
    }
  }

  async #examinePartials(store: DiskBlobStore): Promise<void> {
    for await (const digest of store.listPartials()) {
      const content = contentOf(this.#seeds.get(digest) ?? -1)
      const pieceLength = VICTIM_PIECE_LENGTH
      const size = content.length
      await using partial = await store.openPartial({ digest, size, pieceLength })
      for (let index = 0; index < partial.pieceCount; index += 1) {
        if (!partial.hasPiece(index)) continue
        const start = index * pieceLength
        const piece = await partial.read(start, Math.min(pieceLength, size - start))
        assert.ok(piece.equals(content.subarray(start, start + piece.length)), 'a piece is wrong')
      }
      await partial.discard()
    }
  }
}

function seedOf(variable: string | undefined): number {
  return variable === undefined ? Date.now() % 1e9 : Number(variable)
}

test('loses no acknowledged blob and shows no wrong one in 100 kills at random moments', async (t) => {
  const random = new SeededRandom(seedOf(process.env['CRASH_SEED']))
  t.diagnostic(`CRASH_SEED=${random.seed}`)
  await using dir = await tempDir()
  const oracle = new Oracle(dir.path)
  for (let round = 0; round < 100; round += 1) {
    const victim = new Child(process.execPath, [VICTIM, dir.path, String(random.below(1e9))])
    await victim.waitForLine(/^ready$/)
    await delay(random.below(150))
    await victim.kill()
    oracle.hear(victim.stdout)
    await oracle.examine()
  }
  t.diagnostic(`${oracle.keptCount} blobs kept, ${oracle.sequence} sequences`)
  assert.ok(oracle.keptCount > 100, 'the victims had time to work')
})

// a blob of several pieces each way, and one that is removed
const SWEEP_SEED = '1711'
const FATAL_CALLS = [
  'pwrite64',
  'pwritev',
  'fsync',
  'fdatasync',
  'rename',
  'ftruncate',
  'fchmod',
  'unlink',
  'mkdir',
]

/** What a victim said that met a fault at the n-th system call of a kind, and the line of strace, if there was one. */
async function runWithFault(
  dataDir: string,
  { call, fault, count }: { call: string; fault: string; count: number },
): Promise<{ output: string; hit: string | undefined }> {
  const trace = `${dataDir}.strace`
  const inject = `inject=${call}:${fault}:when=${count}`
  const strace = ['-f', '-y', '-qq', '-o', trace, '-e', `trace=${call}`, '-e', inject]
  const victim = [process.execPath, VICTIM, dataDir, SWEEP_SEED, 'once']
  // strace counts the calls of every thread for itself
  const env = { UV_THREADPOOL_SIZE: '1' }
  const { stdout } = await run('strace', [...strace, ...victim], { env })
  const traced = await readFile(trace, 'utf8')
  await rm(trace)
  return { output: stdout, hit: traced.match(/.*(?:INJECTED|killed by SIGKILL).*/)?.[0] }
}

for (const call of FATAL_CALLS) {
  test(`recovers from a kill at every ${call}`, async (t) => {
    if (!requireLab(t, ['linux', 'strace'])) return
    let count = 0
    for (let isHit = true; isHit; count += 1) {
      await using dir = await tempDir()
      const dataDir = join(dir.path, 'data')
      const victim = await runWithFault(dataDir, { call, fault: 'signal=KILL', count: count + 1 })
      isHit = victim.hit !== undefined
      assert.equal(victim.output.includes('done\n'), !isHit)
      const oracle = new Oracle(dataDir)
      oracle.hear(victim.output)
      await oracle.examine()
    }
    t.diagnostic(`${count - 1} kill points`)
    assert.ok(count > 1, 'at least one call was hit')
  })
}

for (const call of ['fsync', 'fdatasync']) {
  test(`keeps nothing and acknowledges nothing when any ${call} fails`, async (t) => {
    if (!requireLab(t, ['linux', 'strace'])) return
    let refusals = 0
    for (let count = 1, isHit = true; isHit; count += 1) {
      await using dir = await tempDir()
      const dataDir = join(dir.path, 'data')
      const victim = await runWithFault(dataDir, { call, fault: 'error=EIO', count })
      isHit = victim.hit !== undefined
      const refused = victim.output.split('\nrefused DISK_FAULTY\n').length - 1
      refusals += refused
      // LevelDB has its own way with its own files
      const isAnswered = refused > 0 || !victim.output.includes('done\n')
      assert.ok(isAnswered || (victim.hit ?? '/catalog').includes('/catalog'), victim.hit)
      const oracle = new Oracle(dataDir)
      oracle.hear(victim.output)
      await oracle.examine({ isExact: true })
    }
    t.diagnostic(`${refusals} operations refused`)
    assert.ok(refusals > 0)
  })
}

/** A closed catalog with tables, a log and names in it. */
async function makeCatalog(dataDir: string): Promise<void> {
  for (let session = 0; session < 3; session += 1) {
    await using catalog = await Catalog.open(catalogOf(dataDir))
    for (let index = 0; index < 30; index += 1) await putImage(catalog, session * 30 + index)
    for (const [at, sequence] of [session * 2 + 1, session * 2 + 2].entries()) {
      await catalog.putReference({
        name: `docker.io/library/app:${at}`,
        digest: parseDigest(`sha256:${'a'.repeat(64)}`),
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        size: 500,
        sequence: sequence * 100,
        expiresAtMs: 86_400_000,
        nodeId: VICTIM_NODE_ID,
        nodeName: 'somewhere',
        signature: 'c'.repeat(128),
        mac: 'd'.repeat(64),
      })
    }
  }
}

async function putImage(catalog: Catalog, index: number): Promise<Digest> {
  const digest = (text: string) =>
    parseDigest(`sha256:${createHash('sha256').update(text).digest('hex')}`)
  const layer = digest(`layer ${index}`)
  await catalog.putImage({
    digest: digest(`image ${index}`),
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    size: index,
    blobs: [{ digest: layer, size: index, mediaType: 'x', role: 'layer' }],
    addedAtMs: index,
  })
  return layer
}

/** Does to one file what a bad disk or a bad day may do. */
async function damage(path: string, random: SeededRandom): Promise<string> {
  const name = random.pick((await readdir(path)).sort())
  const file = join(path, name)
  const { size } = await stat(file)
  const ways = {
    removed: () => rm(file),
    emptied: () => truncate(file, 0),
    'cut short': () => truncate(file, random.below(size + 1)),
    'filled with garbage': () => writeFile(file, random.bytes(Math.min(size, 4096))),
    'flipped in places': () => flipBytes(file, 1 + random.below(20), random),
  }
  const way = random.pick(Object.keys(ways) as (keyof typeof ways)[])
  await ways[way]()
  return `${name} ${way}`
}

async function flipBytes(path: string, count: number, random: SeededRandom): Promise<void> {
  await using file = await open(path, 'r+')
  const { size } = await file.stat()
  if (size === 0) return
  for (let flip = 0; flip < count; flip += 1) {
    await file.write(random.bytes(1), 0, 1, random.below(size))
  }
}

test('opens and works after 50 random damages of the catalog, and no name goes back', async (t) => {
  const random = new SeededRandom(seedOf(process.env['DAMAGE_SEED']))
  t.diagnostic(`DAMAGE_SEED=${random.seed}`)
  const rounds = Number(process.env['DAMAGE_ROUNDS'] ?? 50)
  await using dir = await tempDir()
  await makeCatalog(join(dir.path, 'sound'))
  let freshCount = 0
  for (let round = 0; round < rounds; round += 1) {
    const dataDir = join(dir.path, `round-${round}`)
    await cp(join(dir.path, 'sound'), dataDir, { recursive: true })
    const what = await damage(catalogOf(dataDir).path, random)
    freshCount += (await examineCatalog(dataDir, what)) ? 1 : 0
    await rm(dataDir, { recursive: true })
  }
  t.diagnostic(`${freshCount} of ${rounds} were fresh`)
})

/** @returns whether the catalog knew that something was lost */
async function examineCatalog(dataDir: string, what: string): Promise<boolean> {
  const first = await Catalog.open(catalogOf(dataDir))
  const images = await Array.fromAsync(first.images())
  assert.ok(
    images.every(({ size, addedAtMs }) => size === addedAtMs),
    what,
  )
  assert.ok(images.length === 90 || first.isFresh || first.wasCutOff, `${what}: a silent loss`)
  for (const name of [0, 1]) {
    const canonical = `docker.io/library/app:${name}`
    const wanted = [5, 6][name]
    assert.equal(await first.lastSequence(canonical, VICTIM_NODE_ID), (wanted ?? 0) * 100, what)
    assert.equal((await first.references(canonical)).length, 1, what)
  }
  const layer = await putImage(first, 1000)
  await first.close()
  await using again = await Catalog.open(catalogOf(dataDir))
  assert.equal(again.isFresh, false, what)
  assert.equal((await again.imagesWithBlob(layer)).length, 1, what)
  return first.isFresh
}
