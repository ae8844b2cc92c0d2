/**
 * The value of a meeting item: nonce 12 ‖ ChaCha20-Poly1305( list ) ‖ tag 16, of one length, random to who has no
 * key. The nonce is random, as for datagrams: there are some thousands under one key, which is of one day.
 */
import { createCipheriv, createDecipheriv, randomBytes, type KeyObject } from 'node:crypto'

import { LIST_BYTES } from './member-list.ts'

const CIPHER = 'chacha20-poly1305'
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** 900: as bencode 904 of the 1000 bytes that BEP 44 allows. */
export const SEALED_LIST_BYTES = NONCE_BYTES + LIST_BYTES + TAG_BYTES

/** Each one is another, also of the same list. @param list LIST_BYTES long */
export function sealMemberList(list: Buffer, key: KeyObject): Buffer {
  if (list.length !== LIST_BYTES) throw new RangeError('a list has one length')
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
  return Buffer.concat([nonce, cipher.update(list), cipher.final(), cipher.getAuthTag()])
}

/** Never throws. @returns undefined unless a member made it, for this key */
export function openMemberList(value: Buffer, key: KeyObject): Buffer | undefined {
  if (value.length !== SEALED_LIST_BYTES) return undefined
  const nonce = value.subarray(0, NONCE_BYTES)
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
  decipher.setAuthTag(value.subarray(-TAG_BYTES))
  const list = decipher.update(value.subarray(NONCE_BYTES, -TAG_BYTES))
  try {
    decipher.final()
    return list
  } catch {
    // The tag is of another key, or of other bytes.
    return undefined
  }
}
