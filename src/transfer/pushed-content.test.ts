import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { Catalog } from '../catalog/catalog.ts'
import { PrivateContent } from '../catalog/private-content.ts'
import { isOperationError } from '../errors.ts'
import { openNodeIdentity } from '../membership/node-identity.ts'
import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import { openSwarmKey } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { digestOf, type Digest } from '../oci/digest.ts'
import { MEDIA_TYPES } from '../oci/media-types.ts'
import { parseDoorName } from '../oci/reference.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { silentLog } from '../telemetry/log.ts'
import { BlobTorrents } from './blob-torrents.ts'
import { ContentAccess } from './content-access.ts'
import { ImageRegister } from './image-register.ts'
import { PushedContent } from './pushed-content.ts'

const name = parseDoorName('local/app')
const other = parseDoorName('local/other')
const { signal } = new AbortController()
const SECRET = 'layer of somebody else'

/** The push side of a node, on which a registry gave `SECRET` for a credential. */
async function openPushed() {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await tempDir())
  const store = stack.use(await DiskBlobStore.open({ dataDir: path }))
  const places = { path: join(path, 'catalog'), recordsPath: join(path, 'records') }
  const catalog = stack.use(await Catalog.open(places))
  const privateContent = await PrivateContent.open(join(path, 'private'), { log: silentLog })
  const access = new ContentAccess({ catalog, privateContent, lifetimeMs: 0 })
  await mkdir(join(path, 'keys'))
  const swarmKeys = new SwarmKeys(await openSwarmKey(path))
  const identity = await openNodeIdentity(path)
  const register = new ImageRegister({
    store,
    catalog,
    swarmKeys,
    access,
    identity,
    keys: new RendezvousKeys(swarmKeys),
    nodeName: 'node',
    isPublic: false,
  })
  const pushed = stack.use(
    new PushedContent({
      store,
      catalog,
      register,
      torrents: new BlobTorrents({ store, catalog, swarmKeys }),
      nodeName: 'node',
      nodeId: identity.nodeId,
      limits: { maxBlobBytes: 1000 },
      isPrivate: (digest) => access.isPrivate(digest),
      onShared: (digest) => access.onShared(digest),
    }),
  )
  const secret = await store.ingest(one(SECRET))
  await privateContent.add(secret.digest, 'ghcr.io/org/secret')
  const opened = stack.move()
  return {
    pushed,
    catalog,
    access,
    secret: secret.digest,
    push: async (text: string) => {
      const session = await pushed.beginUpload({ name })
      await session.finish({ digest: digestOf(text), source: one(text), signal })
      return { mediaType: MEDIA_TYPES.ociLayer, digest: digestOf(text), size: text.length }
    },
    put: (layers: readonly object[], config: object) => {
      const document = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers }
      const bytes = Buffer.from(JSON.stringify(document))
      return pushed.putManifest({ name, bytes, tags: ['1'] }, { signal })
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

const descriptor = (digest: Digest, size: number) => ({
  mediaType: MEDIA_TYPES.ociLayer,
  digest,
  size,
})

test('does not mount what is private, whatever repository it is said to come from', async () => {
  await using open = await openPushed()
  const from = parseDoorName('ghcr.io/org/secret')
  for (const request of [
    { name, digest: open.secret },
    { name, digest: open.secret, from },
  ]) {
    assert.ok(!(await open.pushed.mount(request)))
  }
})

test('takes no manifest that names what is private, unless the client brings the bytes', async () => {
  await using open = await openPushed()
  const config = await open.push('{}')
  const layers = [descriptor(open.secret, SECRET.length)]
  await assert.rejects(open.put(layers, config), isUnknownBlob)
  await open.push(SECRET)
  await open.put(layers, config)
  assert.ok(!(await open.access.isPrivate(open.secret)))
})

test('takes no manifest that tells a wrong size of a blob, or names one that was deleted', async () => {
  await using open = await openPushed()
  const [config, layer] = [await open.push('{}'), await open.push('layer')]
  await assert.rejects(open.put([{ ...layer, size: 6 }], config), (error) =>
    isOperationError(error, 'MANIFEST_INVALID'),
  )
  await open.pushed.mount({ name: other, digest: layer.digest, from: name })
  await open.pushed.deleteBlob({ name, digest: layer.digest })
  await assert.rejects(open.put([layer], config), isUnknownBlob)
  assert.ok(!(await open.pushed.mount({ name: other, digest: layer.digest, from: name })))
  await open.push('layer')
  await open.put([layer], config)
})

test('pins what is pushed, and keeps its name when the engine does not have it', async () => {
  await using open = await openPushed()
  const { digest } = await open.put([], await open.push('{}'))
  assert.deepEqual(await Array.fromAsync(open.catalog.pins()), [{ digest, reason: 'pushed' }])
  await open.pushed.deleteManifest({ name, digest })
  assert.deepEqual(await Array.fromAsync(open.catalog.pins()), [])
  assert.deepEqual(await open.catalog.references('docker.io/library/app:1'), [])
})

function isUnknownBlob(error: unknown): boolean {
  return isOperationError(error, 'BLOB_UNKNOWN')
}

async function* one(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text)
}
