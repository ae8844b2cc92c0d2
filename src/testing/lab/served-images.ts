/** What a node serves and what it says of its transfers, seen from outside over its HTTP address. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { digestOf } from '../../oci/digest.ts'
import { parseManifest, selectPlatform } from '../../oci/manifest.ts'
import type { ImageManifest } from '../../oci/manifest.ts'
import type { TransferStatus } from '../../status/node-status.ts'
import type { DdockerNode } from './ddocker-node.ts'

/** An image as a registry door serves it. */
export interface ServedImage {
  /** Of what the name means: a manifest or an image index. */
  readonly rootDigest: string
  /** Of the manifest for this machine; the same as rootDigest without an index. */
  readonly manifestDigest: string
  readonly manifest: ImageManifest
  /** Digests of all blobs and manifests that a pull of it needs. */
  readonly digests: readonly string[]
}

/** Reads an image's manifest from a node, such as `local/app` and `1`. */
export async function servedImage(
  node: DdockerNode,
  name: string,
  tag: string,
): Promise<ServedImage> {
  const root = await manifestBytes(node, name, tag)
  const parsed = parseManifest(root)
  const rootDigest = digestOf(root)
  if (parsed.kind === 'image') return describe([rootDigest], parsed)
  const entry = selectPlatform(parsed)
  assert.ok(entry, `${name}:${tag} has no manifest for this machine`)
  const manifest = parseManifest(await manifestBytes(node, name, entry.digest))
  assert.equal(manifest.kind, 'image')
  return describe([rootDigest, entry.digest], manifest)
}

/** All transfers that a node tells of, newest first. */
export async function transfersOf(node: DdockerNode): Promise<TransferStatus[]> {
  const { body } = await node.get('/api/v1/transfers')
  return (JSON.parse(body) as { transfers: TransferStatus[] }).transfers
}

/** The transfers of one blob, oldest first. */
export async function transfersOfBlob(
  node: DdockerNode,
  digest: string,
): Promise<TransferStatus[]> {
  const all = await transfersOf(node)
  return all
    .filter((transfer) => transfer.digest === digest)
    .sort((a, b) => a.startedAtMs - b.startedAtMs)
}

/** Asserts that a node had every byte of an image's layers from peers, in one transfer each. */
export async function assertLayersFromPeers(node: DdockerNode, image: ServedImage): Promise<void> {
  const transfers = await transfersOf(node)
  const layers = new Map(image.manifest.layers.map((layer) => [layer.digest, layer]))
  for (const { digest, size } of layers.values()) {
    const found = transfers.filter((transfer) => transfer.digest === digest)
    assert.deepEqual(
      found.map(({ state, size, bytes }) => ({ state, size, bytes })),
      [{ state: 'done', size, bytes: { store: 0, peers: size, upstream: 0 } }],
      `layer ${digest}`,
    )
  }
  const total = [...layers.values()].reduce((sum, { size }) => sum + size, 0)
  const received = await peerBytes(node, 'in')
  // Blocks that were asked for twice at the end of a blob may come on top.
  assert.ok(received >= 0.9 * total, `${received} bytes came over the wire, ${total} in layers`)
}

/** The digests of the complete blobs in a node's data directory. */
export function storedBlobs({ dataDir }: DdockerNode): string[] {
  const names = readdirSync(join(dataDir, 'blobs/sha256'), { recursive: true, encoding: 'utf8' })
  return names
    .map((name) => basename(name))
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .map((hex) => `sha256:${hex}`)
}

/** The counter `ddocker_peer_bytes_total` of a node. */
export async function peerBytes(node: DdockerNode, direction: 'in' | 'out'): Promise<number> {
  const { body } = await node.get('/metrics')
  const found = new RegExp(
    `^ddocker_peer_bytes_total\\{direction="${direction}"\\} (\\S+)$`,
    'm',
  ).exec(body)
  assert.ok(found, `the metrics have no ddocker_peer_bytes_total for ${direction}`)
  return Number(found[1])
}

function describe(manifests: readonly string[], manifest: ImageManifest): ServedImage {
  const [rootDigest = ''] = manifests
  const blobs = [manifest.config, ...manifest.layers].map(({ digest }) => digest)
  return {
    rootDigest,
    manifestDigest: manifests.at(-1) ?? rootDigest,
    manifest,
    digests: [...new Set([...manifests, ...blobs])],
  }
}

async function manifestBytes(node: DdockerNode, name: string, which: string): Promise<Buffer> {
  const { status, body } = await node.get(`/v2/${name}/manifests/${which}`)
  assert.equal(status, 200, `${name} ${which}: ${body}`)
  return Buffer.from(body)
}
