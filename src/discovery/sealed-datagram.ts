/**
 * What members of a closed swarm say on UDP: nobody else can read it, make it, or say it again.
 *
 *   nonce 12 ‖ ChaCha20-Poly1305( seconds 4 ‖ length 2 ‖ body ‖ zeros ) ‖ tag 16
 *
 * - The nonce is random: members share the key and nothing else, so that nobody could count for all. Two of
 *   2^40 datagrams (a thousand nodes, a year) have the same one with a probability of 2^-17; of those two,
 *   and for a minute, ChaCha20 gives away what AES-GCM would give away of all: that is why it is not GCM.
 * - The time is inside: in the clear it would tell hosts apart by their clocks.
 * - The length tells the size only in steps. Every question of the DHT fits the first one: they all look
 *   alike, and like the answers that say no more than yes.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  randomBytes,
  type KeyObject,
} from 'node:crypto'

import { deriveKey } from '../membership/swarm-key.ts'
import { PerSwarmKey, type SwarmKeys } from '../membership/swarm-keys.ts'
import { ReplayWindow } from './replay-window.ts'

const CIPHER = 'chacha20-poly1305'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const HEADER_BYTES = 6
// An `announce_peer`, our longest question, has 161 bytes; with what is put before it, 173.
const STEP_BYTES = 192
// 1180 bytes with all: fits every path, also inside of tunnels.
const MAX_STEPS = 6

/** Added to what is inside, before it is filled up to a step. */
export const SEAL_BYTES = NONCE_BYTES + HEADER_BYTES + TAG_BYTES
/** What fits into one datagram. */
export const MAX_SEALED_BODY_BYTES = MAX_STEPS * STEP_BYTES - HEADER_BYTES
/** What fits into the shortest. */
export const MAX_LEAST_BODY_BYTES = STEP_BYTES - HEADER_BYTES

interface DatagramSealOptions {
  /** the current one seals, all that have not ended open */
  readonly swarmKeys: SwarmKeys
  /** what the datagrams are for: those of another use do not open */
  readonly label: string
  /** milliseconds since 1970 */
  readonly now?: () => number
}

/** Seals and opens; stateful, for it takes each datagram once: one per socket. */
export class DatagramSeal {
  readonly #swarmKeys: SwarmKeys
  readonly #derived: PerSwarmKey<KeyObject>
  readonly #window = new ReplayWindow()
  readonly #now: () => number

  constructor({ swarmKeys, label, now = Date.now }: DatagramSealOptions) {
    this.#swarmKeys = swarmKeys
    this.#derived = new PerSwarmKey((swarmKey) => createSecretKey(deriveKey(swarmKey, label)))
    this.#now = now
  }

  /**
   * Makes a datagram; each one is another, also of the same bytes. At most MAX_SEALED_BODY_BYTES.
   * @param options.mayReturn to this very node; otherwise who sends it back to us is refused
   */
  seal(body: Uint8Array, { mayReturn = false }: { mayReturn?: boolean } = {}): Buffer {
    if (body.length > MAX_SEALED_BODY_BYTES) throw new RangeError('too long for one datagram')
    const steps = Math.ceil((HEADER_BYTES + body.length) / STEP_BYTES)
    const inside = Buffer.alloc(steps * STEP_BYTES)
    const nowSeconds = this.#nowSeconds()
    inside.writeUInt32BE(nowSeconds)
    inside.writeUInt16BE(body.length, 4)
    inside.set(body, HEADER_BYTES)
    const nonce = randomBytes(NONCE_BYTES)
    if (!mayReturn) this.#window.take(nonce.toString('latin1'), nowSeconds, nowSeconds)
    const key = this.#derived.of(this.#swarmKeys.current)
    const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
    return Buffer.concat([nonce, cipher.update(inside), cipher.final(), cipher.getAuthTag()])
  }

  /**
   * Never throws. @returns undefined unless a member made it within the last minute (by either clock), and
   * it was not opened here before
   */
  open(datagram: Buffer): Buffer | undefined {
    if (!isLengthOfSealed(datagram.length)) return undefined
    for (const swarmKey of this.#swarmKeys.opening) {
      const inside = decrypt(datagram, this.#derived.of(swarmKey))
      if (inside) return this.#take(datagram, inside)
    }
    return undefined
  }

  #take(datagram: Buffer, inside: Buffer): Buffer | undefined {
    const nonce = datagram.toString('latin1', 0, NONCE_BYTES)
    const isNew = this.#window.take(nonce, inside.readUInt32BE(), this.#nowSeconds())
    const end = HEADER_BYTES + inside.readUInt16BE(4)
    return isNew && end <= inside.length ? inside.subarray(HEADER_BYTES, end) : undefined
  }

  #nowSeconds(): number {
    return Math.floor(this.#now() / 1000)
  }
}

function isLengthOfSealed(bytes: number): boolean {
  const steps = (bytes - NONCE_BYTES - TAG_BYTES) / STEP_BYTES
  return Number.isInteger(steps) && steps >= 1 && steps <= MAX_STEPS
}

function decrypt(datagram: Buffer, key: KeyObject): Buffer | undefined {
  const nonce = datagram.subarray(0, NONCE_BYTES)
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
  decipher.setAuthTag(datagram.subarray(-TAG_BYTES))
  const inside = decipher.update(datagram.subarray(NONCE_BYTES, -TAG_BYTES))
  try {
    decipher.final()
    return inside
  } catch {
    // The tag is of another key, or of other bytes.
    return undefined
  }
}
