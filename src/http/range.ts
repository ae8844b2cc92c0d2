import parseRanges from 'range-parser'

/** Bytes `start` to `end`, both included (RFC 9110, Byte Ranges). */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** What of a representation a request is answered with. */
export type RangeSelection =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly range: ByteRange }
  | { readonly kind: 'parts'; readonly ranges: readonly ByteRange[] }
  | { readonly kind: 'unsatisfiable' }
  | { readonly kind: 'too-many'; readonly count: number }

/** Podman asks for at most 1024 ranges at once, and for half of them after a 400. */
export const MAX_RANGES = 1024

/**
 * Reads a Range header (RFC 9110, Range Requests). Malformed ones and other units select the whole, as the RFC
 * wants. Ranges that overlap are joined, so that no request costs more than the whole. Others stay as they
 * were asked, adjacent ones too: clients of partial pulls want one part for each range, in their order.
 * @param size of the whole, bytes
 */
export function selectRanges(header: string | undefined, size: number): RangeSelection {
  if (header === undefined) return { kind: 'whole' }
  const ranges = parseRanges(size, withSuffixesThatFit(header, size))
  if (ranges === -2 || (ranges !== -1 && ranges.type.toLowerCase() !== 'bytes')) {
    return { kind: 'whole' }
  }
  if (ranges === -1) {
    return isBytesUnit(header) ? { kind: 'unsatisfiable' } : { kind: 'whole' }
  }
  const parts = overlap(ranges) ? join(ranges) : ranges.map(({ start, end }) => ({ start, end }))
  const [only, ...more] = parts
  if (only && more.length === 0) return { kind: 'part', range: only }
  if (parts.length > MAX_RANGES) return { kind: 'too-many', count: parts.length }
  return { kind: 'parts', ranges: parts }
}

/** `bytes 0-499/1234` */
export function formatContentRange({ start, end }: ByteRange, size: number): string {
  return `bytes ${start}-${end}/${size}`
}

/** How many bytes a range has. */
export function lengthOf({ start, end }: ByteRange): number {
  return end - start + 1
}

/** A suffix longer than the whole selects the whole (RFC 9110); range-parser 1.3 takes it for unsatisfiable. */
function withSuffixesThatFit(header: string, size: number): string {
  return header.replace(
    /([=,]\s*)-(\d+)/g,
    (_match, before: string, length: string) => `${before}-${Math.min(Number(length), size)}`,
  )
}

function isBytesUnit(header: string): boolean {
  return header.slice(0, header.indexOf('=')).toLowerCase() === 'bytes'
}

function overlap(ranges: readonly ByteRange[]): boolean {
  const sorted = [...ranges].sort((a, b) => a.start - b.start)
  return sorted.some((range, index) => range.start <= (sorted[index - 1]?.end ?? -1))
}

/** Joins what overlaps; what is left is in the order of the bytes. */
function join(ranges: readonly ByteRange[]): ByteRange[] {
  const joined: { start: number; end: number }[] = []
  for (const { start, end } of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = joined.at(-1)
    if (last && start <= last.end) last.end = Math.max(last.end, end)
    else joined.push({ start, end })
  }
  return joined
}
