import type { BytesBySource } from '../control/control-protocol.ts'
import { formatByteSize } from '../support/byte-size.ts'

const SOURCES = ['peers', 'upstream', 'store'] as const

/** The first twelve hex digits, as Docker shows them. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12)
}

/** Where bytes came from: `peers 90 %, store 10 %`; empty before the first byte. */
export function sourceShares(bytes: BytesBySource): string {
  const total = bytes.store + bytes.peers + bytes.upstream
  if (total === 0) return ''
  return SOURCES.filter((source) => bytes[source] > 0)
    .map((source) => `${source} ${percent(bytes[source], total)}`)
    .join(', ')
}

/** The same in bytes: `peers 60.0 MiB, store 4.0 MiB`. */
export function sourceSizes(bytes: BytesBySource): string {
  return SOURCES.filter((source) => bytes[source] > 0)
    .map((source) => `${source} ${formatByteSize(bytes[source])}`)
    .join(', ')
}

/** `12.3 MiB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatByteSize(bytesPerSecond)}/s`
}

/** `1 image`, `3 images`. */
export function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`
}

/** Whole percent; what is not all is not 100, and what is not nothing is not 0. */
export function percent(part: number, whole: number): string {
  if (whole === 0) return '100 %'
  const rounded = Math.round((100 * part) / whole)
  const honest = part < whole ? Math.min(rounded, 99) : 100
  return `${part > 0 ? Math.max(honest, 1) : honest} %`
}
