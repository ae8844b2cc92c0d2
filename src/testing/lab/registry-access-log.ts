/** What clients asked a docker-registry, from the access log that it writes itself. */

/** One request that the registry has answered. */
export interface RegistryRequest {
  /** Address of the client. */
  readonly from: string
  readonly method: string
  /** Path and query as they were sent. */
  readonly target: string
  readonly status: number
  /** Bytes of the body that were sent. */
  readonly bytes: number
  readonly userAgent: string
}

// Apache's combined format: 10.77.1.2 - - [21/Nov/2025:19:45:00 +0000] "GET /v2/ HTTP/1.1" 200 2 "" "docker/20.10"
const LINE = /^(\S+) \S+ .* \[[^\]]+\] "(\S+) (\S+) HTTP\/[\d.]+" (\d{3}) (\d+) "[^"]*" "([^"]*)"$/

/** All requests of a log, oldest first; lines of another kind are passed over. */
export function parseAccessLog(log: string): RegistryRequest[] {
  return log.split('\n').flatMap((line) => {
    const found = LINE.exec(line)
    if (found === null) return []
    const [, from = '', method = '', target = '', status, bytes, userAgent = ''] = found
    return [{ from, method, target, status: Number(status), bytes: Number(bytes), userAgent }]
  })
}

/** Whether bytes of a blob were sent. */
export function isBlobBody({ method, target, status }: RegistryRequest): boolean {
  return method === 'GET' && /\/blobs\/sha256:/.test(target) && status < 300
}

/** `GET /v2/app/blobs/sha256:…`: what was asked, for messages and for counting. */
export function requestLine({ method, target }: RegistryRequest): string {
  return `${method} ${target}`
}
