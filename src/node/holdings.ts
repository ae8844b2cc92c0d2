import { join } from 'node:path'

import { Catalog } from '../catalog/catalog.ts'
import type { Config } from '../config/options.ts'
import { OperationError, systemCodeOf } from '../errors.ts'
import { openNodeIdentity, type NodeIdentity } from '../membership/node-identity.ts'
import {
  openSwarmKey,
  PUBLIC_SWARM_KEY,
  readSwarmKey,
  type SwarmKey,
} from '../membership/swarm-key.ts'
import { DiskBlobStore } from '../store/disk-blob-store.ts'
import { makeFolder } from '../support/make-folder.ts'
import type { Log } from '../telemetry/log.ts'
import { rebuildCatalog } from '../transfer/catalog-rebuild.ts'

/** What a data directory holds. */
export interface Holdings {
  readonly store: DiskBlobStore
  readonly catalog: Catalog
  readonly identity: NodeIdentity
  readonly swarmKey: SwarmKey
}

/** The data directory: keys, catalog (whose lock keeps a second node out), blobs. */
export async function openHoldings(
  config: Config,
  { log, rooms }: { log: Log; rooms: AsyncDisposableStack },
): Promise<Holdings> {
  const { dataDir } = config
  await makeDataDir(dataDir)
  const swarmKey = await swarmKeyOf(config)
  const identity = await openNodeIdentity(dataDir)
  const catalog = rooms.use(
    await Catalog.open({
      path: join(dataDir, 'catalog'),
      recordsPath: join(dataDir, 'records'),
      log,
    }),
  )
  const store = rooms.use(await DiskBlobStore.open({ dataDir, log }))
  if (catalog.isFresh || catalog.wasCutOff) await rebuildCatalog({ store, catalog, log })
  return { store, catalog, identity, swarmKey }
}

async function makeDataDir(dataDir: string): Promise<void> {
  try {
    await makeFolder(join(dataDir, 'keys'), { mode: 0o700 })
  } catch (cause) {
    const code = systemCodeOf(cause)
    throw new OperationError(
      code === 'EROFS' ? 'DISK_READ_ONLY' : code === 'ENOSPC' ? 'DISK_FULL' : 'DATA_DIR_UNUSABLE',
      `data directory ${dataDir}: wanted a directory that can be written, found ${code ?? 'an error'}`,
      { cause },
    )
  }
}

function swarmKeyOf({ swarm, swarmKeyFile, dataDir }: Config): Promise<SwarmKey> {
  if (swarm === 'public') return Promise.resolve(PUBLIC_SWARM_KEY)
  return swarmKeyFile === undefined ? openSwarmKey(dataDir) : readSwarmKey(swarmKeyFile)
}
