import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'

import { Catalog } from '../catalog/catalog.ts'
import { digestOf } from '../oci/digest.ts'
import { parseDoorName } from '../oci/reference.ts'
import type { ReferrerEntry } from '../registry/registry-backend.ts'
import type { RegistryContent } from '../registry/registry-content.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { MemoryRegistryBackend } from '../testing/memory-registry-backend.ts'
import { tempDir } from '../testing/temp-dir.ts'
import { PushedView } from '../transfer/pushed-view.ts'
import { PushBackend } from './push-backend.ts'

const { signal } = new AbortController()
const subject = digestOf('subject')

/** The push side in front of a backend that has an upstream, which tells `told` for every name. */
async function openBackend({ told }: { told?: ReferrerEntry[] | Error } = {}) {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await tempDir())
  const store = stack.use(await DiskBlobStore.open({ dataDir: path }))
  const places = { path: join(path, 'catalog'), recordsPath: join(path, 'records') }
  const catalog = stack.use(await Catalog.open(places))
  const inner = new MemoryRegistryBackend()
  inner.referrers = async () => {
    if (told instanceof Error) throw told
    return told
  }
  const backend = new PushBackend({
    inner,
    content: {} as RegistryContent,
    view: new PushedView({ catalog, store }),
    openHeld: async () => undefined,
    askSwarm: async () => undefined,
    hasUpstream: true,
    nodeId: 'own',
  })
  const opened = stack.move()
  return {
    catalog,
    referrers: (name: string, ns?: string) =>
      backend.referrers(
        {
          name: parseDoorName(name, ns),
          digest: subject,
          ...(ns !== undefined && { isMirrored: true }),
        },
        { signal },
      ),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

test('has a list of referrers for who takes the node for the registry, and none as a mirror', async () => {
  await using open = await openBackend()
  assert.deepEqual(await open.referrers('conformance/repo1'), [])
  assert.deepEqual(await open.referrers('local/app'), [])
  assert.equal(await open.referrers('team/app', 'docker.io'), undefined)
  assert.equal(await open.referrers('ghcr.io/team/app'), undefined)
})

test('speaks for a repository that was pushed to, and lets upstream speak for the others', async () => {
  const told = [{ digest: digestOf('signature'), artifactType: 'a/b' }]
  await using open = await openBackend({ told })
  assert.deepEqual(await open.referrers('ghcr.io/team/app'), told)
  assert.deepEqual(await open.referrers('team/app'), told)
  await open.catalog.pushed.hold('ghcr.io/team/app', digestOf('blob'))
  assert.deepEqual(await open.referrers('ghcr.io/team/app'), [])
  assert.deepEqual(await open.referrers('team/app', 'ghcr.io'), told)
})

test('has a list of its own while upstream cannot be reached, but not as a mirror', async () => {
  await using open = await openBackend({ told: new Error('unreachable') })
  assert.deepEqual(await open.referrers('conformance/repo1'), [])
  await assert.rejects(open.referrers('team/app', 'docker.io'), /unreachable/)
  await assert.rejects(open.referrers('ghcr.io/team/app'), /unreachable/)
})
