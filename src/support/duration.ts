import { OperationError } from '../errors.ts'

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1e3,
  m: 60e3,
  h: 3600e3,
  d: 86_400e3,
}

/**
 * Milliseconds from `30s`, `15m`, `2h`, `7d` or `500ms`.
 * @throws OperationError CONFIG_INVALID
 */
export function parseDurationMs(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$/i.exec(text)
  const unitMs = UNITS_MS[match?.[2]?.toLowerCase() ?? '']
  if (!match || unitMs === undefined) {
    throw new OperationError('CONFIG_INVALID', `wanted a time such as 30s or 2h, found "${text}"`)
  }
  return Number(match[1]) * unitMs
}

/** `850 ms`, `12.3 s`, `4 m 10 s`. */
export function formatDurationMs(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} m ${seconds % 60} s`
}
