import { EventEmitter } from 'node:events'

import type { SwarmKey } from './swarm-key.ts'

/** Which keys count now, and for whom: nothing in it but values, so that another process can be told. */
export interface SwarmKeyState {
  /** seals datagrams, signs names, makes rendezvous keys */
  readonly current: SwarmKey
  /** Dialled with, the newest first, and taken from everybody but where they have ended. `current` is one of them. */
  readonly accepted: readonly SwarmKey[]
  /** Those that have ended: only connections may be proven with them, and only by those who were met before. */
  readonly former: readonly FormerKey[]
  /** when this node met a member for the first time, ms, by node id */
  readonly metAtMs: ReadonlyMap<string, number>
  /** node ids with which this node has nothing to do for ever */
  readonly revoked: ReadonlySet<string>
}

/** A key that was taken away from somebody, or is too old. */
export interface FormerKey {
  readonly key: SwarmKey
  /** who was met later may be anybody who had it */
  readonly endedAtMs: number
}

/**
 * What a node that has proven a key may do: all that members may; only ask which key there is now, for it was off when
 * that changed; or nothing.
 */
export type Admission = 'member' | 'outdated' | 'refused'

/** The keys of one swarm, which may change while the node runs. Who owns it decides; all others only look. */
export class SwarmKeys extends EventEmitter<{ change: [] }> {
  #state: SwarmKeyState
  #opening: readonly SwarmKey[]

  /** @param also keys that are taken as well */
  constructor(current: SwarmKey, ...also: readonly SwarmKey[]) {
    super()
    // each connection and each socket may listen
    this.setMaxListeners(0)
    this.#state = {
      current,
      accepted: [current, ...also],
      former: [],
      metAtMs: new Map(),
      revoked: new Set(),
    }
    this.#opening = this.#state.accepted
  }

  /** All of it, for another process. */
  get state(): SwarmKeyState {
    return this.#state
  }

  /** What is sent is sealed and signed with it, a moment after it came: others must have it by then. */
  get current(): SwarmKey {
    return this.#state.current
  }

  /** What others are invited with. */
  get newest(): SwarmKey {
    return this.#state.accepted[0] ?? this.#state.current
  }

  /** the newest first */
  get accepted(): readonly SwarmKey[] {
    return this.#state.accepted
  }

  /** What datagrams are opened with, the newest first: nobody proves by one who he is. */
  get opening(): readonly SwarmKey[] {
    return this.#opening
  }

  /** All that a connection may be proven with, by whomever. */
  get known(): readonly SwarmKey[] {
    const { accepted, former } = this.#state
    const others = former.map(({ key }) => key).filter((key) => !accepted.includes(key))
    return [...accepted, ...others]
  }

  /** What to vouch with to who has proven `shown`: that, for he may have no other; the newest where it has ended. */
  vouchingFor(shown: SwarmKey): SwarmKey {
    return this.#state.accepted.find((key) => key.equals(shown)) ?? this.newest
  }

  get revoked(): ReadonlySet<string> {
    return this.#state.revoked
  }

  /** What the node that has proven to be `nodeId`, and to know `key`, may do here. */
  admissionOf(nodeId: string, key: SwarmKey): Admission {
    const { accepted, former, metAtMs, revoked } = this.#state
    if (revoked.has(nodeId)) return 'refused'
    const ended = former.find((each) => each.key.equals(key))
    const isAccepted = accepted.some((each) => each.equals(key))
    if (!ended) return isAccepted ? 'member' : 'refused'
    if ((metAtMs.get(nodeId) ?? Infinity) >= ended.endedAtMs) return 'refused'
    return isAccepted ? 'member' : 'outdated'
  }

  /** Puts another state in place of the one there was, all at once. */
  set(state: SwarmKeyState): void {
    const { accepted, former } = state
    this.#state = state
    this.#opening = accepted.filter((key) => !former.some((ended) => ended.key.equals(key)))
    this.emit('change')
  }
}

/** Something made from a key once, for as long as the key is in use. */
export class PerSwarmKey<Value extends object> {
  readonly #values = new WeakMap<SwarmKey, Value>()
  readonly #make: (key: SwarmKey) => Value

  constructor(make: (key: SwarmKey) => Value) {
    this.#make = make
  }

  of(key: SwarmKey): Value {
    const known = this.#values.get(key)
    if (known) return known
    const made = this.#make(key)
    this.#values.set(key, made)
    return made
  }
}
