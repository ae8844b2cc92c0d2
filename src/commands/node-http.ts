import { messageOf, OperationError } from '../errors.ts'
import { deadline } from '../support/deadline.ts'

const TIMEOUT_MS = 10_000

/**
 * A JSON document of a node's local HTTP address.
 * @param registry host:port
 * @throws OperationError NODE_UNREACHABLE
 */
export async function fetchJson(
  registry: string,
  path: string,
  signal: AbortSignal,
): Promise<unknown> {
  const url = `http://${registry}${path}`
  try {
    const response = await fetch(url, { signal: deadline(TIMEOUT_MS, signal) })
    if (response.ok) return await response.json()
    await response.body?.cancel()
    throw new Error(`status ${response.status}`)
  } catch (cause) {
    signal.throwIfAborted()
    throw new OperationError(
      'NODE_UNREACHABLE',
      `${url}: wanted JSON, found: ${messageOf(cause)}`,
      {
        cause,
      },
    )
  }
}
