import { testDiscovery } from '../testing/discovery.conformance.ts'
import { MemoryDiscovery, MemoryRendezvous } from './memory-discovery.ts'

testDiscovery('memory', async (count) => {
  const rendezvous = new MemoryRendezvous()
  const nodes = Array.from({ length: count }, (_, index) => {
    const address = { host: '10.0.0.1', port: index + 1 }
    return { discovery: new MemoryDiscovery({ rendezvous, address }), address }
  })
  return {
    nodes,
    settled: async () => {},
    [Symbol.asyncDispose]: async () => {
      for (const { discovery } of nodes) await discovery[Symbol.asyncDispose]()
    },
  }
})
