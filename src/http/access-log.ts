import type { ServerResponse } from 'node:http'

import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

interface AccessLogOptions {
  readonly log: Log
  readonly metrics?: Pick<Metrics, 'observeRequest'>
  /** the kind of request, one of few; asked when the response is done */
  readonly route: () => string
}

const MAX_PATH_LENGTH = 300

/** One debug line and one histogram sample for a request, when its response is done or its client has gone. */
export function recordAccess(
  response: ServerResponse,
  { log, metrics, route }: AccessLogOptions,
): void {
  const { req: request } = response
  const { socket } = request
  const startedMs = performance.now()
  const writtenBefore = socket.bytesWritten
  response.once('close', () => {
    const ms = performance.now() - startedMs
    const status = response.statusCode
    metrics?.observeRequest({ route: route(), status, seconds: ms / 1000 })
    log.debug(
      {
        method: request.method,
        // Neither the query nor any header: they may hold what is not ours to keep.
        path: (request.url ?? '').split('?', 1)[0]?.slice(0, MAX_PATH_LENGTH),
        status,
        bytes: socket.bytesWritten - writtenBefore,
        ms: Math.round(ms),
        isComplete: response.writableFinished,
      },
      'request answered',
    )
  })
}
