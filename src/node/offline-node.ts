import type { Config } from '../config/options.ts'
import type { NodeOperations } from '../control/control-protocol.ts'
import { RendezvousKeys } from '../membership/rendezvous-key.ts'
import type { Log } from '../telemetry/log.ts'
import { BlobTorrents } from '../transfer/blob-torrents.ts'
import { ContentAccess } from '../transfer/content-access.ts'
import { ImageRegister } from '../transfer/image-register.ts'
import { ImageSeeder } from '../transfer/image-seeder.ts'
import { openHoldings } from './holdings.ts'
import { importOperation, torrentOperation } from './image-operations.ts'
import { keyOperations } from './key-changes.ts'
import { refuseKeyChanges, swarmOperations } from './swarm-operations.ts'

/** What works on a data directory while no node runs on it. */
export interface OfflineNode extends AsyncDisposable {
  readonly operations: Pick<
    NodeOperations,
    'import' | 'torrent' | 'swarmId' | 'swarmInvite' | 'swarmRotate' | 'swarmRevoke'
  >
}

/**
 * Opens what commands can do without a node: nothing is announced before the next start.
 * @throws OperationError as {@link openHoldings}; DATA_DIR_IN_USE while a node runs
 */
export async function openOffline(config: Config, { log }: { log: Log }): Promise<OfflineNode> {
  await using rooms = new AsyncDisposableStack()
  const { store, catalog, privateContent, identity, swarmKeys, keyKeeper } = await openHoldings(
    config,
    {
      log,
      rooms,
    },
  )
  const access = new ContentAccess({ catalog, privateContent, lifetimeMs: 0, log })
  const register = new ImageRegister({
    store,
    catalog,
    identity,
    swarmKeys,
    keys: new RendezvousKeys(swarmKeys),
    nodeName: config.nodeName,
    isPublic: config.swarm === 'public',
    access,
  })
  const doors = () => []
  const seeder = new ImageSeeder({ catalog, register, access, doors })
  const offline = {
    store,
    catalog,
    seeder,
    doors,
    torrents: new BlobTorrents({ store, catalog, swarmKeys }),
  }
  const opened = rooms.move()
  return {
    operations: {
      import: importOperation(offline),
      torrent: torrentOperation(offline),
      ...swarmOperations(swarmKeys),
      ...(keyKeeper ? keyOperations(keyKeeper) : refuseKeyChanges()),
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
