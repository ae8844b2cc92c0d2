import { join } from 'node:path'

import { Catalog } from '../catalog/catalog.ts'
import { PrivateContent } from '../catalog/private-content.ts'
import type { Config } from '../config/options.ts'
import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { openNodeIdentity, type NodeIdentity } from '../membership/node-identity.ts'
import { KeyKeeper } from '../membership/key-keeper.ts'
import { PUBLIC_SWARM_KEY } from '../membership/swarm-key.ts'
import { SwarmKeys } from '../membership/swarm-keys.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { diskError } from '../support/disk-error.ts'
import { makeFolder } from '../support/make-folder.ts'
import type { Log } from '../telemetry/log.ts'
import { rebuildCatalog } from '../transfer/catalog-rebuild.ts'

/** What a data directory holds. */
export interface Holdings {
  readonly store: DiskBlobStore
  readonly catalog: Catalog
  readonly privateContent: PrivateContent
  readonly identity: NodeIdentity
  readonly swarmKeys: SwarmKeys
  /** of a closed swarm */
  readonly keyKeeper: KeyKeeper | undefined
}

interface OpenOptions {
  readonly log: Log
  readonly rooms: AsyncDisposableStack
  /** how long after it is told of a key this node begins to send with it */
  readonly keySettleMs?: number | undefined
}

/**
 * The data directory: keys, catalog (whose lock keeps a second node out), blobs.
 * @throws OperationError DATA_DIR_UNUSABLE, DATA_DIR_IN_USE, DISK_FULL, DISK_READ_ONLY, SWARM_KEY_INVALID
 */
export async function openHoldings(config: Config, options: OpenOptions): Promise<Holdings> {
  const { dataDir } = config
  try {
    return await openAll(config, options)
  } catch (error) {
    throw diskError(error, `data directory ${dataDir}: wanted one that can be written`)
  }
}

async function openAll(config: Config, options: OpenOptions): Promise<Holdings> {
  const { log, rooms } = options
  const { dataDir } = config
  await makeDataDir(dataDir)
  const identity = await openNodeIdentity(dataDir)
  const keyKeeper = await openKeyKeeper(config, identity, options)
  const swarmKeys = keyKeeper?.keys ?? new SwarmKeys(PUBLIC_SWARM_KEY)
  const catalog = rooms.use(
    await Catalog.open({
      path: join(dataDir, 'catalog'),
      recordsPath: join(dataDir, 'records'),
      log,
    }),
  )
  const privateContent = await PrivateContent.open(join(dataDir, 'private'), { log })
  const store = rooms.use(await DiskBlobStore.open({ dataDir, log }))
  if (catalog.isFresh) await rebuildCatalog({ store, catalog, log })
  else if (catalog.wasCutOff) rebuildMeanwhile({ store, catalog, log }, rooms)
  return { store, catalog, privateContent, identity, swarmKeys, keyKeeper }
}

/** After a kill the catalog may lack its last entries: they are looked for while the node serves. */
function rebuildMeanwhile(
  parts: { store: DiskBlobStore; catalog: Catalog; log: Log },
  rooms: AsyncDisposableStack,
): void {
  const stop = new AbortController()
  const rebuilding = rebuildCatalog({ ...parts, signal: stop.signal }).catch((error: unknown) => {
    if (!stop.signal.aborted) parts.log.warn({ error: messageOf(error) }, 'catalog not completed')
  })
  rooms.defer(async () => {
    stop.abort()
    await rebuilding
  })
}

async function makeDataDir(dataDir: string): Promise<void> {
  try {
    await makeFolder(join(dataDir, 'keys'), { mode: 0o700 })
  } catch (cause) {
    if (systemCodeOf(cause) !== 'ENOENT') throw cause
    const message = `data directory ${dataDir}: wanted one that can be written, found ENOENT`
    throw new OperationError('DATA_DIR_UNUSABLE', message, { cause })
  }
}

async function openKeyKeeper(
  { swarm, swarmKeyFile: keyFile, dataDir }: Config,
  identity: NodeIdentity,
  { log, rooms, keySettleMs }: OpenOptions,
): Promise<KeyKeeper | undefined> {
  if (swarm === 'public') return undefined
  const settle = keySettleMs !== undefined && { settleMs: keySettleMs }
  return rooms.use(await KeyKeeper.open({ dataDir, keyFile, identity, log, ...settle }))
}
