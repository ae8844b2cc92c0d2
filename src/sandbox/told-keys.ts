import { SwarmKeys, type SwarmKeyState } from '../membership/swarm-keys.ts'
import type { SwarmKey } from '../membership/swarm-key.ts'

/** The keys of the swarm, as the other process told them last. What is made from a key is kept by that very buffer. */
export class ToldKeys {
  readonly keys: SwarmKeys
  readonly #known = new Map<string, SwarmKey>()

  constructor(state: SwarmKeyState) {
    this.keys = new SwarmKeys(this.#same(state.current))
    this.replace(state)
  }

  replace(state: SwarmKeyState): void {
    const keysBefore = new Map(this.#known)
    this.#known.clear()
    for (const key of [state.current, ...state.accepted, ...state.former.map((each) => each.key)]) {
      const text = key.toString('hex')
      this.#known.set(text, keysBefore.get(text) ?? key)
    }
    this.keys.set({
      ...state,
      current: this.#same(state.current),
      accepted: state.accepted.map((key) => this.#same(key)),
      former: state.former.map((each) => ({ ...each, key: this.#same(each.key) })),
    })
  }

  #same(key: SwarmKey): SwarmKey {
    const text = key.toString('hex')
    const known = this.#known.get(text) ?? key
    this.#known.set(text, known)
    return known
  }
}
