import assert from 'node:assert/strict'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { parseDiscovery } from './discovery-setting.ts'

test('reads every kind of entry, from a list and from one text', () => {
  const list = [
    'lan',
    'mainline',
    'mainline:router.example:6881',
    'mainline:10.0.0.9:1',
    'bootstrap:node-1.example:7000',
    'static:10.0.0.7:6881',
    'static:[fd00::7]:6882',
    'dns:tasks.ddocker',
    'dns:ddocker.default.svc.cluster.local:6999',
  ]
  const wanted = [
    { kind: 'lan' },
    { kind: 'mainline' },
    { kind: 'mainline', router: { host: 'router.example', port: 6881 } },
    { kind: 'mainline', router: { host: '10.0.0.9', port: 1 } },
    { kind: 'bootstrap', address: { host: 'node-1.example', port: 7000 } },
    { kind: 'static', address: { host: '10.0.0.7', port: 6881 } },
    { kind: 'static', address: { host: 'fd00::7', port: 6882 } },
    { kind: 'dns', name: 'tasks.ddocker', port: 6881 },
    { kind: 'dns', name: 'ddocker.default.svc.cluster.local', port: 6999 },
  ]
  assert.deepEqual(parseDiscovery(list), wanted)
  assert.deepEqual(parseDiscovery(list.join(', ')), wanted)
})

test('takes none alone, and drops repetitions', () => {
  assert.deepEqual(parseDiscovery('none'), [{ kind: 'none' }])
  assert.deepEqual(parseDiscovery('lan,lan'), [{ kind: 'lan' }])
})

for (const list of [
  '',
  'lan,',
  'lan:1',
  'LAN',
  'mainline:',
  'mainline:router.example',
  'mainline:router.example:0',
  'tracker:http://x',
  'bootstrap',
  'bootstrap:',
  'bootstrap:host',
  'bootstrap:host:0',
  'bootstrap:host:65536',
  'bootstrap:host:1e3',
  'bootstrap:fd00::7:6881',
  'bootstrap:[fd00::7]',
  'bootstrap:[10.0.0.7]:1',
  'static:10.0.0.256:6881',
  'static:10.0.7:6881',
  'static:a..b:6881',
  'static:-a:6881',
  'static:a b:6881',
  `static:${'a.'.repeat(200)}a:6881`,
  'dns:',
  'dns::6881',
  'none,lan',
]) {
  test(`refuses "${list.slice(0, 40)}" and says what it wanted and what it found`, () => {
    assert.throws(
      () => parseDiscovery(list),
      (error: unknown) =>
        isOperationError(error, 'CONFIG_INVALID') && /wanted .*, found ".*"/.test(error.message),
    )
  })
}

test('refuses an empty list, and one of more than 256 entries', () => {
  const many = Array.from({ length: 257 }, (_, index) => `static:10.0.0.1:${index + 1}`)
  assert.throws(() => parseDiscovery([]), { code: 'CONFIG_INVALID' })
  assert.throws(() => parseDiscovery(many), { code: 'CONFIG_INVALID' })
})

test('a long name does not keep it busy', () => {
  const startMs = performance.now()
  assert.throws(() => parseDiscovery(`dns:${'a'.repeat(50_000)}!`), { code: 'CONFIG_INVALID' })
  assert.ok(performance.now() - startMs < 500)
})
