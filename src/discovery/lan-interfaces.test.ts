import assert from 'node:assert/strict'
import type { NetworkInterfaceInfo } from 'node:os'
import { test } from 'node:test'

import { lanInterfaces, type LanGroup } from './lan-interfaces.ts'

const v4: LanGroup = { type: 'udp4', address: '239.192.152.143' }
const v6: LanGroup = { type: 'udp6', address: 'ff15::efc0:988f' }

function at(address: string, { internal = false } = {}): NetworkInterfaceInfo {
  const shared = { address, internal, netmask: '', mac: '', cidr: null }
  return address.includes(':')
    ? { ...shared, family: 'IPv6', scopeid: 0 }
    : { ...shared, family: 'IPv4' }
}

const lo = [at('127.0.0.1', { internal: true }), at('::1', { internal: true })]

test('IPv4 goes out from each address, IPv6 on each interface, from any of its addresses', () => {
  const found = { lo, wlan0: [at('192.0.2.7'), at('192.0.2.8'), at('fe80::7'), at('2001:db8::7')] }
  assert.deepEqual(lanInterfaces(v4, found), [
    { name: '192.0.2.7', addresses: ['192.0.2.7'] },
    { name: '192.0.2.8', addresses: ['192.0.2.8'] },
  ])
  assert.deepEqual(lanInterfaces(v6, found), [
    { name: '::%wlan0', addresses: ['fe80::7', '2001:db8::7'] },
  ])
})

test('networks of engines come last, however many there are', () => {
  const bridges = Array.from({ length: 40 }, (_, index) => [
    `br-${index}`,
    [at(`172.18.${index}.1`)],
  ])
  const found = Object.fromEntries([...bridges, ['docker0', [at('172.17.0.1')]]])
  const names = lanInterfaces(v4, { ...found, wlan0: [at('192.0.2.7')] }).map(({ name }) => name)
  assert.equal(names[0], '192.0.2.7')
  assert.equal(names.length, 32)
})

test('without a network there is loopback, by IPv4', () => {
  const loopback = { name: '127.0.0.1', addresses: ['127.0.0.1'] }
  assert.deepEqual(lanInterfaces(v4, { lo }), [loopback])
  assert.deepEqual(lanInterfaces(v4, { lo, e0: [at('fe80::1')] }), [loopback])
  assert.deepEqual(lanInterfaces(v6, { lo }), [])
})
