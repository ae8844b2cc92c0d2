/**
 * Where the members of a closed swarm meet on mainline: one mutable item (BEP 44) for each day. All of it is
 * derived from the swarm key, so that every member may write it, and nobody else can tell the item of one
 * day from that of another swarm or follow a swarm from one day to the next.
 *
 *   day d = floor((seconds + what this swarm adds) / 86400)
 *   Ed25519 seed, salt, key of the value  = HMAC-SHA256(swarm key, label ‖ d)
 *   target = SHA-1(public key ‖ salt)
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  sign,
  type KeyObject,
} from 'node:crypto'

import { deriveKey, type SwarmKey } from '../membership/swarm-key.ts'

/** A mutable item as readers and writers name it (BEP 44). */
export interface ItemPlace {
  /** 20 bytes: where in the DHT */
  readonly target: Buffer
  /** 32 bytes, Ed25519 */
  readonly publicKey: Buffer
  readonly salt: Buffer
}

/** The item of one swarm on one day, for who has the swarm key. */
export interface MeetingPlace extends ItemPlace {
  readonly sign: (bytes: Buffer) => Buffer
  /** of the value */
  readonly sealingKey: KeyObject
}

const DAY_SECONDS = 86_400
// Before a day ends the next item is written too, and after it has begun the last one is read too: longer than
// anybody waits before writing again, so that who comes at the change finds those who came before.
const OVERLAP_MS = 2 * 3_600_000
const SALT_BYTES = 16
// PKCS #8 of an Ed25519 seed (RFC 8410, section 7)
const SEED_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')
const PUBLIC_KEY_BYTES = 32

/** The item of `day`. */
export function meetingPlaceOf(swarmKey: SwarmKey, day: number): MeetingPlace {
  const derive = (what: string) => deriveKey(swarmKey, `dd1/mainline/${what}\0${day}`)
  const key = Buffer.concat([SEED_HEAD, derive('sign')])
  const privateKey = createPrivateKey({ key, format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(privateKey)
    .export({ format: 'der', type: 'spki' })
    .subarray(-PUBLIC_KEY_BYTES)
  const salt = derive('salt').subarray(0, SALT_BYTES)
  return {
    target: createHash('sha1').update(publicKey).update(salt).digest(),
    publicKey,
    salt,
    sign: (bytes) => sign(null, bytes, privateKey),
    sealingKey: createSecretKey(derive('seal')),
  }
}

/** Where members that are here may have written: today, and until shortly after its end yesterday. */
export function daysToRead(swarmKey: SwarmKey, nowMs: number): number[] {
  return [...new Set([dayAt(swarmKey, nowMs), dayAt(swarmKey, nowMs - OVERLAP_MS)])]
}

/** Where a member writes: today, and from shortly before it begins tomorrow. */
export function daysToWrite(swarmKey: SwarmKey, nowMs: number): number[] {
  return [...new Set([dayAt(swarmKey, nowMs), dayAt(swarmKey, nowMs + OVERLAP_MS)])]
}

/** Days of swarms begin at different times: else all of them would move at once, and be known by it. */
function dayAt(swarmKey: SwarmKey, nowMs: number): number {
  const offset = deriveKey(swarmKey, 'dd1/mainline/day\0').readUInt32BE() % DAY_SECONDS
  return Math.floor((nowMs / 1000 + offset) / DAY_SECONDS)
}
