import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'

import { isDigest, digestOf, type Digest } from '../oci/digest.ts'
import { readBody } from './node-reading.ts'

/** An answer of a registry as an engine sees it. */
export interface EngineAnswer {
  readonly what: 'manifest' | 'blob'
  readonly reference: string
  readonly status: number
  /** all of the promised bytes came */
  readonly isWhole: boolean
  readonly bytes: Buffer
  /** from the request to the headers of its answer, ms */
  readonly headersMs: number
}

/** What an engine pulls. */
export interface EnginePull {
  /** `127.0.0.1:port` of the door, or of a registry */
  readonly door: string
  readonly repository: string
  readonly tag?: string
  /** the registry that is meant, as containerd says it to a mirror */
  readonly ns?: string
  readonly headers?: Record<string, string>
}

const MENDED_MS = 15_000
const AGAIN_MS = 200

interface ManifestBody {
  readonly config: { readonly digest: string }
  readonly layers: readonly { readonly digest: string }[]
}

/**
 * Pulls as engines do, but never tries anything twice: the manifest by its tag, then by what the tag means, then all
 * blobs at once. Goes as far as the answers let it.
 */
export async function pullLikeEngine(pull: EnginePull): Promise<EngineAnswer[]> {
  const tagged = await askFor(pull, 'manifest', pull.tag ?? '1')
  if (!isRight(tagged)) return [tagged]
  const digest = digestOf(tagged.bytes)
  const manifest = await askFor(pull, 'manifest', digest)
  if (!isRight(manifest)) return [tagged, manifest]
  const blobs = await Promise.all(blobsOf(manifest.bytes).map((blob) => askFor(pull, 'blob', blob)))
  return [tagged, manifest, ...blobs]
}

/** Whether everything came, as its digest says. */
export function isPulled(answers: readonly EngineAnswer[]): boolean {
  const [, manifest] = answers
  if (manifest?.status !== 200) return false
  const wanted = blobsOf(manifest.bytes).length + 2
  return answers.length === wanted && answers.every(isRight)
}

/** Whether one answer is complete and what was asked for. */
export function isRight({ status, isWhole, bytes, reference }: EngineAnswer): boolean {
  return status === 200 && isWhole && (!isDigest(reference) || digestOf(bytes) === reference)
}

/**
 * Nothing but what an engine goes on from by itself: right bytes; a 404, after which it asks its next host; or an
 * early end, after which it asks for the rest.
 * @param limitMs for the headers of each answer, which is what engines count
 */
export function assertHarmless(answers: readonly EngineAnswer[], limitMs: number): void {
  for (const answer of answers) {
    const isCut = answer.status === 200 && !answer.isWhole
    const isHarmless = isRight(answer) || answer.status === 404 || isCut
    assert.ok(isHarmless && answer.headersMs < limitMs, summaryOf([answer]))
  }
}

/** Pulls until all comes: a registry that wanted to be left alone for a while is. */
export async function untilPulled(pull: () => Promise<EngineAnswer[]>): Promise<EngineAnswer[]> {
  const deadlineMs = performance.now() + MENDED_MS
  for (;;) {
    const answers = await pull()
    if (isPulled(answers) || performance.now() > deadlineMs) return answers
    await delay(AGAIN_MS)
  }
}

/** In one line, for a failure that has to be understood. */
export function summaryOf(answers: readonly EngineAnswer[]): string {
  return answers
    .map(
      ({ what, reference, status, isWhole, bytes, headersMs }) =>
        `${what} ${reference.slice(0, 15)}: ${status}${isWhole ? '' : ' cut'} ${bytes.length} B, headers after ${headersMs.toFixed(0)} ms`,
    )
    .join('; ')
}

async function askFor(
  { door, repository, ns, headers = {} }: EnginePull,
  what: EngineAnswer['what'],
  reference: string,
): Promise<EngineAnswer> {
  const query = ns === undefined ? '' : `?ns=${ns}`
  const url = `http://${door}/v2/${repository}/${what}s/${reference}${query}`
  const { status, isWhole, bytes, headersMs } = await readBody(url, { headers })
  return { what, reference, status, isWhole, bytes, headersMs }
}

function blobsOf(manifest: Buffer): Digest[] {
  const { config, layers } = JSON.parse(manifest.toString()) as ManifestBody
  return [config, ...layers].map(({ digest }) => digest).filter(isDigest)
}
