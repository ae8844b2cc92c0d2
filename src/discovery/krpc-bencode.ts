import { decodeBencode, type BencodeValue } from '../support/bencode.ts'

export type { BencodeValue } from '../support/bencode.ts'

/** Decodes one datagram. Never throws. @returns undefined for whatever is not one whole bencoded value */
export function decodeDatagram(datagram: Buffer): BencodeValue | undefined {
  return decodeBencode(datagram)
}
