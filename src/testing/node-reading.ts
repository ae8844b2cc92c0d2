import { request } from 'node:http'

import type { TransferStatus } from '../status/node-status.ts'

/** What came of a body, and how its connection ended. */
export interface ReadBody {
  readonly status: number
  readonly bytes: Buffer
  /** all of the promised bytes came */
  readonly isWhole: boolean
  /** ms from the request to the headers, to the first byte of the body, and the longest time without one after that */
  readonly headersMs: number
  readonly firstByteMs: number
  readonly longestGapMs: number
}

/** Reads a body to the end of its connection, and calls `onBytes` with what has come so far. */
export function readBody(
  url: string,
  {
    onBytes = () => {},
    headers = {},
  }: { onBytes?: (bytes: number) => void; headers?: Record<string, string> } = {},
): Promise<ReadBody> {
  const { promise, resolve, reject } = Promise.withResolvers<ReadBody>()
  const chunks: Buffer[] = []
  const startedAtMs = performance.now()
  let bytes = 0
  let lastAtMs = startedAtMs
  let firstByteMs = -1
  let longestGapMs = 0
  const asked = request(url, { headers, agent: false }, (response) => {
    const headersMs = performance.now() - startedAtMs
    response.on('data', (chunk: Buffer) => {
      const nowMs = performance.now()
      if (firstByteMs < 0) firstByteMs = nowMs - startedAtMs
      else longestGapMs = Math.max(longestGapMs, nowMs - lastAtMs)
      lastAtMs = nowMs
      chunks.push(chunk)
      bytes += chunk.length
      onBytes(bytes)
    })
    response.on('error', () => {})
    response.on('close', () => {
      const { statusCode: status = 0, complete: isWhole } = response
      const found = { status, bytes: Buffer.concat(chunks), isWhole }
      resolve({ ...found, headersMs, firstByteMs, longestGapMs })
    })
  })
  asked.on('error', reject)
  asked.end()
  return promise
}

/** `/api/v1/transfers` of a node, newest first. */
export async function transfersAt(registry: string): Promise<TransferStatus[]> {
  const answer = await fetch(`http://${registry}/api/v1/transfers`)
  return ((await answer.json()) as { transfers: TransferStatus[] }).transfers
}
