import { OperationError } from '../errors.ts'

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
}

/**
 * Bytes from `20GiB`, `500MB` or a plain number.
 * @throws OperationError CONFIG_INVALID
 */
export function parseByteSize(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text)
  const unit = UNITS[match?.[2]?.toLowerCase() ?? 'none']
  if (!match || unit === undefined) {
    throw new OperationError(
      'CONFIG_INVALID',
      `wanted a size such as 20GiB or 500MB, found "${text}"`,
    )
  }
  return Math.round(Number(match[1]) * unit)
}

/**
 * Bytes per second from `50MiB/s`; the `/s` may be left out.
 * @throws OperationError CONFIG_INVALID
 */
export function parseByteRate(text: string): number {
  return parseByteSize(text.replace(/\/s\s*$/i, ''))
}

/** `1.5 MiB`, with one digit behind the point below ten. */
export function formatByteSize(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let step = 0
  while (value >= 1024 && step < names.length - 1) {
    value /= 1024
    step += 1
  }
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${names[step] ?? 'B'}`
}
