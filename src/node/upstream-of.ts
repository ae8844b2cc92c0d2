import type { Config } from '../config/options.ts'
import type { Log } from '../telemetry/log.ts'
import { openUpstream } from '../upstream/open-upstream.ts'
import type { Upstream } from '../upstream/upstream.ts'

/** The registries of a configuration, or undefined where they are not to be asked. */
export async function openUpstreamOf(
  config: Config,
  { log, rooms }: { log: Log; rooms: AsyncDisposableStack },
): Promise<Upstream | undefined> {
  if (!config.upstream) return undefined
  const { upstreamCaFile, dockerConfigFile, upstreamBytesPerSecond } = config
  const upstream = await openUpstream({
    insecureHosts: config.insecureUpstreams,
    localHosts: config.localUpstreams,
    caFile: upstreamCaFile,
    dockerConfigFile,
    bytesPerSecond: upstreamBytesPerSecond,
    log,
  })
  return rooms.use(upstream)
}
