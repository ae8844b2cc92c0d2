import { OperationError } from '../errors.ts'
import { Digester } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import type { DemoImage } from './demo-image.ts'
import type { DemoNode } from './demo-node.ts'

/**
 * Reads an image back through a node's registry, as an engine does, and hashes every byte.
 * @throws OperationError BLOB_DIGEST_MISMATCH, BLOB_UNKNOWN
 */
export async function verifyImage(
  node: DemoNode,
  { image, name, signal }: { image: DemoImage; name: string; signal: AbortSignal },
): Promise<void> {
  const [repository, tag] = name.split(':')
  const base = `http://${node.ready.registry}/v2/${repository}`
  await verify(`${base}/manifests/${tag}`, image.digest, signal)
  for (const { digest } of image.layers) await verify(`${base}/blobs/${digest}`, digest, signal)
}

async function verify(url: string, wanted: string, signal: AbortSignal): Promise<void> {
  const response = await fetch(url, { signal, headers: { accept: MEDIA_TYPES.ociManifest } })
  if (!response.ok || !response.body) {
    throw new OperationError('BLOB_UNKNOWN', `${url}: wanted status 200, found ${response.status}`)
  }
  const digester = new Digester()
  for await (const chunk of response.body) digester.update(chunk)
  const found = digester.digest()
  if (found !== wanted) {
    throw new OperationError('BLOB_DIGEST_MISMATCH', `${url}: wanted ${wanted}, found ${found}`)
  }
}
