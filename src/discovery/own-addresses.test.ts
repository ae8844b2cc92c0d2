import assert from 'node:assert/strict'
import { test } from 'node:test'

import { OwnAddresses, type OwnInterface } from './own-addresses.ts'

const PORT = 6881
const loopback = { address: '127.0.0.1', cidr: '127.0.0.1/8' }
const lan = { address: '10.0.0.2', cidr: '10.0.0.2/24' }
const at = (host: string, port: number = PORT) => ({ host, port })

test('its own are those of the host with its port, and all of loopback', () => {
  const own = new OwnAddresses({ port: PORT, interfaces: () => [loopback, lan] })
  for (const host of ['10.0.0.2', '127.0.0.1', '127.0.0.9']) {
    assert.equal(own.has(at(host)), true, host)
    assert.equal(own.has(at(host, 6882)), false, host)
  }
  assert.equal(own.has(at('10.0.0.3')), false)
})

test('the address that is bound is its own, whatever the host says', () => {
  const own = new OwnAddresses({ port: PORT, host: '10.9.9.9', interfaces: () => [] })
  assert.equal(own.has(at('10.9.9.9')), true)
})

test('two addresses are on one network if this host is on it as well', () => {
  const own = new OwnAddresses({ port: PORT, interfaces: () => [loopback, lan] })
  assert.equal(own.areOnOneNetwork(at('10.0.0.3'), at('10.0.0.4')), true)
  assert.equal(own.areOnOneNetwork(at('10.0.0.3'), at('127.0.0.1')), false)
  assert.equal(own.areOnOneNetwork(at('10.0.1.3'), at('10.0.1.4')), false)
})

test('a new address is known within a second, and asked for no more often', () => {
  let nowMs = 0
  let readCount = 0
  let found: OwnInterface[] = [loopback]
  const interfaces = () => {
    readCount += 1
    return found
  }
  const own = new OwnAddresses({ port: PORT, interfaces, now: () => nowMs })
  assert.equal(own.has(at('10.0.0.2')), false)
  found = [lan]
  for (nowMs = 1; nowMs < 1000; nowMs += 1) assert.equal(own.has(at('10.0.0.2')), false)
  assert.equal(readCount, 1)
  nowMs = 1000
  assert.equal(own.has(at('10.0.0.2')), true)
})
