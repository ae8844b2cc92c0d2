import assert from 'node:assert/strict'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { diskError } from './disk-error.ts'

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: failed`), { code })
}

const CASES = [
  ['ENOSPC', 'DISK_FULL'],
  ['EDQUOT', 'DISK_FULL'],
  ['EROFS', 'DISK_READ_ONLY'],
  ['EIO', 'DISK_FAULTY'],
  ['EMFILE', 'OPEN_FILES_EXHAUSTED'],
  ['EACCES', 'DATA_DIR_UNUSABLE'],
] as const

for (const [systemCode, code] of CASES) {
  test(`tells what to do about ${systemCode}`, () => {
    const cause = systemError(systemCode)
    const error = diskError(cause, 'blob x')
    assert.ok(isOperationError(error, code))
    assert.equal(error.cause, cause)
    assert.match(error.message, /^blob x: /)
  })
}

test('leaves errors alone that are not of the disk', () => {
  const timeout = systemError('ETIMEDOUT')
  assert.equal(diskError(timeout, 'blob x'), timeout)
})
