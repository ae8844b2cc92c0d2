import assert from 'node:assert/strict'
import { test } from 'node:test'

import { classifyAddress, type AddressClass } from './address-class.ts'

const ADDRESSES: readonly [string, AddressClass][] = [
  ['8.8.8.8', 'public'],
  ['2606:4700::6810:1', 'public'],
  ['10.1.2.3', 'private'],
  ['172.31.0.1', 'private'],
  ['192.168.0.1', 'private'],
  ['100.64.0.1', 'private'],
  ['198.18.0.1', 'private'],
  ['240.0.0.1', 'private'],
  ['fd00::1', 'private'],
  ['2001:db8::1', 'private'],
  ['0.0.0.0', 'local'],
  ['0.1.2.3', 'local'],
  ['127.0.0.1', 'local'],
  ['127.255.255.254', 'local'],
  ['169.254.169.254', 'local'],
  ['224.0.0.1', 'local'],
  ['255.255.255.255', 'local'],
  ['100.100.100.200', 'local'],
  ['192.0.0.192', 'local'],
  ['168.63.129.16', 'local'],
  ['::', 'local'],
  ['::1', 'local'],
  ['fe80::1', 'local'],
  ['fe80::1%eth0', 'local'],
  ['fec0::1', 'local'],
  ['ff02::1', 'local'],
  ['fd00:ec2::254', 'local'],
  ['::ffff:127.0.0.1', 'local'],
  ['::ffff:a9fe:a9fe', 'local'],
  ['::ffff:10.0.0.1', 'private'],
  ['::ffff:8.8.8.8', 'public'],
  ['::7f00:1', 'local'],
  ['64:ff9b::7f00:1', 'local'],
  ['64:ff9b::a9fe:a9fe', 'local'],
  ['64:ff9b::808:808', 'private'],
  ['2002:7f00:1::', 'local'],
  ['::ffff:0:127.0.0.1', 'local'],
  ['not an address', 'local'],
  ['', 'local'],
]

for (const [address, expected] of ADDRESSES) {
  test(`${address || 'nothing'} is ${expected}`, () => {
    assert.equal(classifyAddress(address), expected)
  })
}
