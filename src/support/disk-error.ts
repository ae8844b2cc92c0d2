import { messageOf, OperationError, systemCodeOf, type ErrorCode } from '../errors.ts'

const CODES_BY_SYSTEM_CODE: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'DISK_FULL',
  EDQUOT: 'DISK_FULL',
  EROFS: 'DISK_READ_ONLY',
  EIO: 'DISK_FAULTY',
  EMFILE: 'OPEN_FILES_EXHAUSTED',
  ENFILE: 'OPEN_FILES_EXHAUSTED',
  EACCES: 'DATA_DIR_UNUSABLE',
  EPERM: 'DATA_DIR_UNUSABLE',
  ENOTDIR: 'DATA_DIR_UNUSABLE',
}

/**
 * What to throw for a failed file operation: an OperationError where the system error says what a person can do
 * (DISK_FULL, DISK_READ_ONLY, DISK_FAULTY, OPEN_FILES_EXHAUSTED, DATA_DIR_UNUSABLE), anything else unchanged.
 * @param what the file or directory, as the message names it
 */
export function diskError(thrown: unknown, what: string): unknown {
  const code = CODES_BY_SYSTEM_CODE[systemCodeOf(thrown) ?? '']
  if (code === undefined) return thrown
  return new OperationError(code, `${what}: ${messageOf(thrown)}`, { cause: thrown })
}
