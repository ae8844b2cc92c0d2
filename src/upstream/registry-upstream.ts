import { OperationError } from '../errors.ts'
import { parseDigest, type Digest } from '../oci/digest.ts'
import { MAX_MANIFEST_BYTES } from '../oci/manifest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { isTag } from '../oci/reference.ts'
import type { TokenBucket } from '../support/token-bucket.ts'
import { readBlob } from './blob-content.ts'
import { checkBlobPart, type BlobPart } from './blob-part.ts'
import { faulty, isUnreachable } from './failures.ts'
import {
  checkDigestHeader,
  checkIdentityEncoding,
  MANIFEST_ACCEPT,
  readManifest,
  readManifestHead,
  type CheckedManifest,
} from './manifest-answer.ts'
import { checkReferrers } from './referrers-answer.ts'
import type { RegistryAnswer, RegistryQuestion, RegistryRequests } from './registry-requests.ts'
import { targetOf, type RegistryTarget } from './registry-target.ts'
import { readTagPage } from './tag-pages.ts'
import type {
  AskOptions,
  Upstream,
  UpstreamAccess,
  UpstreamBlob,
  UpstreamDescriptor,
  UpstreamManifest,
  UpstreamRepository,
} from './upstream.ts'

interface RegistryUpstreamOptions {
  readonly requests: RegistryRequests
  readonly mayLogIn: (registry: string) => Promise<boolean>
  readonly insecureHosts: ReadonlySet<string>
  readonly bucket: TokenBucket | undefined
  /** the pause before the try number `tries + 1` */
  readonly pauseAfter: (tries: number, signal: AbortSignal) => Promise<void>
  readonly close: () => Promise<void>
}

interface BlobQuestion {
  readonly target: RegistryTarget
  readonly digest: Digest
  readonly ask: AskOptions
}

const MAX_BODY_TRIES = 3
const MAX_TAGS = 100_000
const TAGS_PER_PAGE = 1000
const MAX_TAG_PAGES = 1000

/** Registries over HTTP; what they answer is checked before anybody else sees it. */
export class RegistryUpstream implements Upstream {
  readonly #options: RegistryUpstreamOptions

  constructor(options: RegistryUpstreamOptions) {
    this.#options = options
  }

  async mayLogIn(registry: string): Promise<boolean> {
    return await this.#options.mayLogIn(registry)
  }

  async resolve(
    repository: UpstreamRepository,
    tag: string,
    ask: AskOptions,
  ): Promise<UpstreamDescriptor | undefined> {
    if (!isTag(tag)) throw new OperationError('REFERENCE_INVALID', `"${tag}" is not a tag`)
    const target = this.#targetOf(repository)
    const head = await this.#askManifest(target, 'HEAD', tag, ask)
    if (!head) return undefined
    const { answer, access } = head
    await answer.discard()
    const told = answer.isSuccess ? readManifestHead(answer) : undefined
    if (told) return { ...told, access }
    // a registry that says too little in a HEAD has to send it all
    const manifest = await this.#getManifest(target, tag, ask)
    if (!manifest) return undefined
    const { digest, mediaType, bytes } = manifest
    return { digest, mediaType, size: bytes.length, access: manifest.access }
  }

  async manifest(
    repository: UpstreamRepository,
    digest: Digest,
    ask: AskOptions,
  ): Promise<UpstreamManifest | undefined> {
    return await this.#getManifest(this.#targetOf(repository), parseDigest(digest), ask)
  }

  async has(
    repository: UpstreamRepository,
    { kind, digest }: { readonly kind: 'manifest' | 'blob'; readonly digest: Digest },
    ask: AskOptions,
  ): Promise<UpstreamAccess | undefined> {
    const target = this.#targetOf(repository)
    const wanted = parseDigest(digest)
    const head =
      kind === 'manifest'
        ? await this.#askManifest(target, 'HEAD', wanted, ask)
        : await this.#options.requests.ask(target, blobQuestion('HEAD', target, wanted), ask)
    if (!head) return undefined
    await head.answer.discard()
    checkSuccess(head.answer)
    checkDigestHeader(head.answer, wanted)
    return head.access
  }

  async blob(
    repository: UpstreamRepository,
    content: { readonly digest: Digest; readonly size?: number; readonly start?: number },
    ask: AskOptions,
  ): Promise<UpstreamBlob | undefined> {
    const digest = parseDigest(content.digest)
    const { start = 0 } = content
    const question = { target: this.#targetOf(repository), digest, ask }
    if (start > 0 && start === content.size) return await this.#nothingOf(question, start)
    const opened = await this.#openBlob(question, { size: content.size, start })
    if (!opened) return undefined
    const { part, access } = opened
    const size = part.size ?? (await this.#sizeOf(question, part))
    if (start > size) {
      part.answer.leave()
      throw new TypeError(`blob ${digest}: wanted it from byte ${start}, and it has ${size}`)
    }
    return { size, access, content: this.#contentOf(question, { part, size, start }) }
  }

  async tags(
    repository: UpstreamRepository,
    ask: AskOptions,
  ): Promise<{ tags: string[]; access: UpstreamAccess } | undefined> {
    const target = this.#targetOf(repository)
    const tags: string[] = []
    const visited = new Set<string>()
    let path = `/v2/${target.repository}/tags/list?n=${TAGS_PER_PAGE}`
    for (;;) {
      visited.add(path)
      const found = await this.#askMetadata(target, path, 'application/json', ask)
      if (!found) return undefined
      const page = await readTagPage(found.answer, target.origin)
      tags.push(...page.tags.slice(0, MAX_TAGS - tags.length))
      const isEnough = tags.length >= MAX_TAGS || visited.size >= MAX_TAG_PAGES
      if (page.next === undefined || isEnough) return { tags, access: found.access }
      if (visited.has(page.next)) throw faulty(target.origin, 'its pages of tags go in a circle')
      path = page.next
    }
  }

  async referrers(
    repository: UpstreamRepository,
    digest: Digest,
    ask: AskOptions & { readonly artifactType?: string },
  ): Promise<{ bytes: Buffer; isFiltered: boolean; access: UpstreamAccess } | undefined> {
    const target = this.#targetOf(repository)
    const filter =
      ask.artifactType === undefined ? '' : `?artifactType=${encodeURIComponent(ask.artifactType)}`
    const path = `/v2/${target.repository}/referrers/${parseDigest(digest)}${filter}`
    const found = await this.#askMetadata(target, path, MEDIA_TYPES.ociIndex, ask)
    if (!found) return undefined
    const bytes = await found.answer.bytes(MAX_MANIFEST_BYTES)
    return { bytes, isFiltered: checkReferrers(found.answer, bytes), access: found.access }
  }

  /** Ends all connections; what is under way fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#options.close()
  }

  #targetOf(repository: UpstreamRepository): RegistryTarget {
    return targetOf(repository, this.#options.insecureHosts)
  }

  async #askManifest(
    target: RegistryTarget,
    method: 'GET' | 'HEAD',
    reference: string,
    ask: AskOptions,
  ): Promise<RegistryAnswer | undefined> {
    const question: RegistryQuestion = {
      method,
      path: `/v2/${target.repository}/manifests/${reference}`,
      headers: { accept: MANIFEST_ACCEPT },
      kind: 'metadata',
    }
    return await this.#options.requests.ask(target, question, ask)
  }

  async #getManifest(
    target: RegistryTarget,
    reference: string,
    ask: AskOptions,
  ): Promise<UpstreamManifest | undefined> {
    const wanted = reference.includes(':') ? parseDigest(reference) : undefined
    return await this.#untilWhole(
      () => this.#askManifest(target, 'GET', reference, ask),
      ({ answer }) => readManifest(answer, wanted),
      ask,
    )
  }

  /** Asks again if the body broke off. */
  async #untilWhole(
    question: () => Promise<RegistryAnswer | undefined>,
    read: (found: RegistryAnswer) => Promise<CheckedManifest>,
    { signal }: AskOptions,
  ): Promise<UpstreamManifest | undefined> {
    for (let tries = 1; ; tries += 1) {
      const found = await question()
      if (!found) return undefined
      try {
        checkSuccess(found.answer)
        return { ...(await read(found)), access: found.access }
      } catch (thrown) {
        if (tries === MAX_BODY_TRIES || !isUnreachable(thrown, 'body')) throw thrown
        await this.#options.pauseAfter(tries, signal)
      }
    }
  }

  async #askMetadata(
    target: RegistryTarget,
    path: string,
    accept: string,
    ask: AskOptions,
  ): Promise<RegistryAnswer | undefined> {
    const question = { method: 'GET', path, headers: { accept }, kind: 'metadata' } as const
    const found = await this.#options.requests.ask(target, question, ask)
    if (!found) return undefined
    checkSuccess(found.answer)
    checkIdentityEncoding(found.answer)
    return found
  }

  async #openBlob(
    { target, digest, ask }: BlobQuestion,
    { size, start }: { size: number | undefined; start: number },
  ): Promise<{ part: BlobPart; access: UpstreamAccess } | undefined> {
    const question = blobQuestion('GET', target, digest, start)
    const found = await this.#options.requests.ask(target, question, ask)
    if (!found) return undefined
    const { answer, access } = found
    return { part: checkBlobPart(answer, { digest, size, start }), access }
  }

  /** The size of a blob whose body comes without one. */
  async #sizeOf({ target, digest, ask }: BlobQuestion, { answer }: BlobPart): Promise<number> {
    try {
      const head = await this.#options.requests.ask(
        target,
        blobQuestion('HEAD', target, digest),
        ask,
      )
      await head?.answer.discard()
      const size = head?.answer.isSuccess === true ? head.answer.contentLength : undefined
      if (size === undefined) throw faulty(target.origin, `it does not tell the size of ${digest}`)
      return size
    } catch (thrown) {
      answer.leave()
      throw thrown
    }
  }

  #contentOf(
    question: BlobQuestion,
    { part, size, start }: { part: BlobPart; size: number; start: number },
  ): AsyncIterable<Buffer> {
    const { target, digest, ask } = question
    const { bucket, pauseAfter } = this.#options
    const reopen = async (position: number): Promise<BlobPart> => {
      const opened = await this.#openBlob(question, { size, start: position })
      if (!opened) throw faulty(target.origin, `it lost blob ${digest} while it was read`)
      return opened.part
    }
    const { signal } = ask
    return readBlob({ digest, size, start, first: part, reopen, pauseAfter, bucket, signal })
  }

  /** The end of a blob, once the registry has said that it has the blob. */
  async #nothingOf(question: BlobQuestion, size: number): Promise<UpstreamBlob | undefined> {
    const { target, digest, ask } = question
    const content = { kind: 'blob', digest } as const
    const access = await this.has(target, content, ask)
    return access && { size, access, content: emptyContent() }
  }
}

function blobQuestion(
  method: 'GET' | 'HEAD',
  { repository }: RegistryTarget,
  digest: Digest,
  start = 0,
): RegistryQuestion {
  return {
    method,
    path: `/v2/${repository}/blobs/${digest}`,
    headers: { accept: '*/*', ...(start > 0 && { range: `bytes=${start}-` }) },
    kind: method === 'GET' ? 'blob' : 'metadata',
  }
}

function checkSuccess({ isSuccess, status, url }: RegistryAnswer['answer']): void {
  if (!isSuccess) throw faulty(url, `it answered ${status}`, { status })
}

async function* emptyContent(): AsyncGenerator<Buffer, void, void> {
  // no bytes are left
}
