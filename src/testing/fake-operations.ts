import type { NodeOperations } from '../control/control-protocol.ts'

/** Operations of a node that holds nothing and refuses everything, but for those that a test gives. */
export function fakeOperations(given: Partial<NodeOperations> = {}): NodeOperations {
  const refuse = () => Promise.reject(new TypeError('the test gave no such operation'))
  return {
    seed: refuse,
    seedAll: refuse,
    import: refuse,
    pull: refuse,
    warm: refuse,
    torrent: refuse,
    publish: refuse,
    unpublish: refuse,
    explain: refuse,
    list: () => Promise.resolve({ images: [] }),
    status: () => Promise.resolve({}),
    peers: () => Promise.resolve({ peers: [] }),
    swarmId: refuse,
    swarmInvite: refuse,
    swarmRotate: refuse,
    swarmRevoke: refuse,
    ...given,
  }
}
