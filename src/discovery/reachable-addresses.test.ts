import assert from 'node:assert/strict'
import { isIPv6 } from 'node:net'
import type { NetworkInterfaceInfo } from 'node:os'
import { test } from 'node:test'

import { reachableAddresses } from './reachable-addresses.ts'

const port = 6881

function interfaces(hostsByName: Record<string, string[]>) {
  return () =>
    Object.fromEntries(
      Object.entries(hostsByName).map(([name, hosts]) => [name, hosts.map(interfaceOf)]),
    )
}

function interfaceOf(address: string): NetworkInterfaceInfo {
  const shared = { address, netmask: '', mac: '', internal: false, cidr: null }
  return isIPv6(address) ? { ...shared, family: 'IPv6', scopeid: 0 } : { ...shared, family: 'IPv4' }
}

test('as others see the host first, then its own addresses of both families', () => {
  const found = reachableAddresses({
    port,
    outerHost: '198.51.99.7',
    interfaces: interfaces({
      lo: ['127.0.0.1', '::1'],
      eth0: ['10.0.0.7', '2600:1f18::7', 'fe80::7'],
      wlan0: ['192.168.1.7', '169.254.3.3'],
    }),
  })
  const hosts = ['198.51.99.7', '10.0.0.7', '192.168.1.7', '2600:1f18::7']
  assert.deepEqual(
    found,
    hosts.map((host) => ({ host, port })),
  )
})

test('networks between containers are of no use elsewhere', () => {
  const inner = { docker0: ['172.17.0.1'], 'br-1a2b': ['172.18.0.1'], virbr0: ['192.168.122.1'] }
  const found = reachableAddresses({ port, interfaces: interfaces({ ...inner, e0: ['10.0.0.7'] }) })
  assert.deepEqual(found, [{ host: '10.0.0.7', port }])
})

test('no more than five, each once, and some of both families', () => {
  const many = (prefix: string) => Array.from({ length: 9 }, (_, index) => `${prefix}${index + 1}`)
  const found = reachableAddresses({
    port,
    outerHost: '10.0.0.1',
    interfaces: interfaces({ e0: [...many('10.0.0.'), ...many('2600:1f18::')] }),
  })
  const hosts = ['10.0.0.1', '10.0.0.2', '2600:1f18::1', '2600:1f18::2', '10.0.0.3']
  assert.deepEqual(
    found,
    hosts.map((host) => ({ host, port })),
  )
})

test('who listens on one address is not at the others, but may be seen under another', () => {
  const own = interfaces({ e0: ['10.0.0.7', '10.0.0.8'] })
  const options = { host: '10.0.0.8', port, interfaces: own }
  assert.deepEqual(reachableAddresses(options), [{ host: '10.0.0.8', port }])
  const seen = reachableAddresses({ ...options, outerHost: '198.51.99.7' })
  assert.deepEqual(seen, [
    { host: '198.51.99.7', port },
    { host: '10.0.0.8', port },
  ])
})

test('who listens on one IPv6 address is there alone', () => {
  const found = reachableAddresses({ host: '2600:1f18::7', port, outerHost: '198.51.99.7' })
  assert.deepEqual(found, [{ host: '2600:1f18::7', port }])
})

test('who listens on loopback can be found there, by others that do', () => {
  assert.deepEqual(reachableAddresses({ host: '127.0.0.1', port }), [{ host: '127.0.0.1', port }])
})
