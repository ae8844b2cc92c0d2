import assert from 'node:assert/strict'
import { test } from 'node:test'

import { formatEngineHost, parseEngineHost, usualEngineHosts } from './engine-host.ts'

for (const [text, host] of [
  ['unix:///run/docker.sock', { socketPath: '/run/docker.sock' }],
  ['npipe:////./pipe/docker_engine', { socketPath: '//./pipe/docker_engine' }],
  ['tcp://10.0.0.7:2376', { hostname: '10.0.0.7', port: 2376 }],
  ['tcp://docker', { hostname: 'docker', port: 2375 }],
  ['tcp://[::1]:2375', { hostname: '::1', port: 2375 }],
  ['tcp://docker:80', { hostname: 'docker', port: 80 }],
  ['http://docker:80', { hostname: 'docker', port: 80 }],
] as const) {
  test(`reads ${text}`, () => assert.deepEqual(parseEngineHost(text), host))
}

for (const text of ['', 'docker', 'unix://', 'ssh://host', 'tcp://', '/run/docker.sock']) {
  test(`refuses "${text}" for a host`, () => {
    assert.throws(() => parseEngineHost(text), { code: 'CONFIG_INVALID' })
  })
}

test('writes a host as it is read', () => {
  for (const text of ['unix:///run/docker.sock', 'tcp://[::1]:2375', 'tcp://docker:1']) {
    assert.equal(formatEngineHost(parseEngineHost(text)), text)
  }
})

test('looks where engines usually listen, the system first', () => {
  assert.deepEqual(usualEngineHosts('linux')[0], { socketPath: '/var/run/docker.sock' })
  assert.deepEqual(usualEngineHosts('win32'), [{ socketPath: '//./pipe/docker_engine' }])
})
