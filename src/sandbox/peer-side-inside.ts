import { linkedPair } from '../support/message-link.ts'
import { PeerSideHost } from './peer-side-host.ts'
import type { PeerSideProcess } from './peer-side-process.ts'

/** A peer side in this process, behind the same link: for many nodes in one program, as tests have them. */
export function hostInside(): PeerSideProcess {
  const pair = linkedPair()
  const [link, other] = pair
  const host = new PeerSideHost(other)
  return {
    link,
    pid: undefined,
    stop: async () => {
      await host[Symbol.asyncDispose]()
      pair[Symbol.dispose]()
    },
  }
}
