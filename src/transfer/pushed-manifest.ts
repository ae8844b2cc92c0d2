import { OperationError } from '../errors.ts'
import { asRecord, type Descriptor } from '../oci/descriptor.ts'
import { isDigest, type Digest } from '../oci/digest.ts'
import { childrenOf, parseManifest, type Manifest } from '../oci/manifest.ts'
import { isSha512Digest, type Sha512Digest } from '../oci/sha512-digest.ts'

/** A manifest as a client pushed it, read for what it means here. */
export interface ParsedPush {
  /** with the digests that the store knows its blobs by */
  readonly manifest: Manifest
  /** what must be here: config and layers, but not those that are fetched elsewhere */
  readonly needed: readonly Descriptor[]
  /** the digest of the manifest it refers to, of any algorithm */
  readonly subject?: string
  /** it names blobs by digests that only this node can resolve */
  readonly isForeign: boolean
}

interface ParseOptions {
  /** what the client says it is, with or without parameters */
  readonly mediaType?: string
  /** what a digest of another algorithm means here */
  readonly digestOf: (alias: Sha512Digest) => Promise<Digest | undefined>
}

type Json = Record<string, unknown>

/**
 * Reads a manifest that is pushed (distribution-spec, Pushing Manifests).
 * @throws OperationError MANIFEST_INVALID; BLOB_UNKNOWN for a digest of another algorithm that means nothing here
 */
export async function parsePushedManifest(
  bytes: Uint8Array,
  { mediaType, digestOf }: ParseOptions,
): Promise<ParsedPush> {
  const document = readDocument(bytes)
  const translated = document && (await translate(document, digestOf))
  const manifest = parseManifest(translated ? Buffer.from(JSON.stringify(translated)) : bytes)
  checkMediaType(manifest, mediaType)
  const subject = subjectOf(document)
  return {
    manifest,
    needed: neededOf(manifest, document),
    isForeign: translated !== undefined,
    ...(subject !== undefined && { subject }),
  }
}

/** What a manifest refers to, if anything: a digest of any algorithm. @throws OperationError MANIFEST_INVALID */
export function subjectOf(document: Json | undefined): string | undefined {
  const subject = document?.['subject']
  if (subject === undefined || subject === null) return undefined
  const digest = asRecord(subject)?.['digest']
  if (isDigest(digest) || isSha512Digest(digest)) return digest
  const found = JSON.stringify(digest)?.slice(0, 100) ?? 'none'
  throw new OperationError('MANIFEST_INVALID', `subject.digest: wanted a digest, found ${found}`)
}

/** The JSON object of a manifest; undefined for what is none, which whoever parses it reports. */
export function readDocument(bytes: Uint8Array): Json | undefined {
  try {
    return asRecord(JSON.parse(Buffer.from(bytes).toString()))
  } catch {
    return undefined
  }
}

/** @returns undefined where all digests are ours already */
async function translate(
  document: Json,
  digestOf: ParseOptions['digestOf'],
): Promise<Json | undefined> {
  const { config, layers, manifests } = document
  const all = [config, layers, manifests].flat()
  if (!all.some((entry) => isSha512Digest(asRecord(entry)?.['digest']))) return undefined
  const one = (entry: unknown) => translateEntry(entry, digestOf)
  const whole = async (entry: unknown) => (await one(entry)) ?? unknown(entry)
  return {
    ...document,
    ...(config !== undefined && { config: await whole(config) }),
    ...(Array.isArray(layers) && { layers: await Promise.all(layers.map(whole)) }),
    // an image index may name manifests that are not here
    ...(Array.isArray(manifests) && {
      manifests: (await Promise.all(manifests.map(one))).filter((entry) => entry !== undefined),
    }),
  }
}

/** @returns undefined for a digest that means nothing here */
async function translateEntry(
  entry: unknown,
  digestOf: ParseOptions['digestOf'],
): Promise<unknown> {
  const descriptor = asRecord(entry)
  const alias = descriptor?.['digest']
  if (!isSha512Digest(alias)) return entry
  const digest = await digestOf(alias)
  return digest && { ...descriptor, digest }
}

function unknown(entry: unknown): never {
  const digest = String(asRecord(entry)?.['digest'])
  throw new OperationError('BLOB_UNKNOWN', `manifest: blob ${digest} was not pushed`, {
    details: { digest },
  })
}

function checkMediaType({ mediaType }: Manifest, stated: string | undefined): void {
  const type = stated?.split(';')[0]?.trim().toLowerCase()
  if (type === undefined || type === '' || type === mediaType) return
  const message = `manifest: its Content-Type is ${type.slice(0, 200)}, and it is ${mediaType}`
  throw new OperationError('MANIFEST_INVALID', message)
}

/** What an image index lists may come later or never (distribution-spec: sparse manifests). */
function neededOf(manifest: Manifest, document: Json | undefined): Descriptor[] {
  if (manifest.kind === 'index') return []
  const layers = document?.['layers']
  const elsewhere = new Set(
    (Array.isArray(layers) ? layers : []).flatMap((layer, index) =>
      isElsewhere(asRecord(layer)) ? [index + 1] : [],
    ),
  )
  return childrenOf(manifest).filter((_, index) => !elsewhere.has(index))
}

/** A layer that may not be distributed is fetched where its `urls` say (image-spec, layer.md). */
function isElsewhere(layer: Json | undefined): boolean {
  const { mediaType, urls } = layer ?? {}
  const isRestricted = typeof mediaType === 'string' && /nondistributable|foreign/.test(mediaType)
  return isRestricted || (Array.isArray(urls) && urls.length > 0)
}
