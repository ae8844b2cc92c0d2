import { createHmac } from 'node:crypto'

import { bytesOf, type Digest } from '../oci/digest.ts'
import type { SwarmKeys } from './swarm-keys.ts'

declare const rendezvousKeyBrand: unique symbol

/** Where members meet on the DHT (BEP 5): 20 bytes as 40 hex digits. Not an infohash; tells outsiders nothing. */
export type RendezvousKey = string & { readonly [rendezvousKeyBrand]: true }

const KEY_BYTES = 20

/** The keys of one swarm: `HMAC-SHA256(current swarm key, label ‖ what)[0..20)`. */
export class RendezvousKeys {
  readonly #swarmKeys: Pick<SwarmKeys, 'current' | 'accepted'>

  constructor(swarmKeys: Pick<SwarmKeys, 'current' | 'accepted'>) {
    this.#swarmKeys = swarmKeys
  }

  /** The same under each swarm key that counts, where members may have been before or after a change. */
  each(keyOf: (keys: RendezvousKeys) => RendezvousKey): RendezvousKey[] {
    const { current, accepted } = this.#swarmKeys
    const others = accepted.filter((key) => key !== current)
    return [current, ...others].map((key) =>
      keyOf(new RendezvousKeys({ current: key, accepted: [key] })),
    )
  }

  /** Every node of the swarm. */
  get nodes(): RendezvousKey {
    return this.#derive('dd1/nodes\0')
  }

  /** Nodes that hold something of an image. */
  image(manifest: Digest): RendezvousKey {
    return this.#derive('dd1/image\0', bytesOf(manifest))
  }

  /** Nodes that can say what a name means. @param name canonical, without local/ and node/ */
  reference(name: string): RendezvousKey {
    return this.#derive('dd1/ref\0', Buffer.from(name))
  }

  #derive(label: string, what: Uint8Array = Buffer.alloc(0)): RendezvousKey {
    const mac = createHmac('sha256', this.#swarmKeys.current).update(label).update(what).digest()
    return mac.subarray(0, KEY_BYTES).toString('hex') as RendezvousKey
  }
}

/** An infohash as a place to meet: what plain BitTorrent clients look up (public swarm only). */
export function rendezvousAtInfoHash(infoHash: string): RendezvousKey {
  if (!/^[0-9a-f]{40}$/.test(infoHash)) throw new TypeError('an infohash is 40 hex digits')
  return infoHash as RendezvousKey
}
