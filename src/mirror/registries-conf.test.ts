import assert from 'node:assert/strict'
import { test } from 'node:test'

import { parse } from 'smol-toml'

import {
  entriesOf,
  isMirrored,
  makeRegistriesConf,
  type RegistriesFile,
} from './registries-conf.ts'

const ADDRESS = '127.0.0.1:5151'
const OWN = '/etc/containers/registries.conf.d/50-ddocker.conf'

test('names the registry in the path of the mirror, with its port', () => {
  const { text, registries } = make([], [], ['docker.io', 'corp.test:5000'])
  assert.deepEqual(registries, ['docker.io', 'corp.test:5000'])
  assert.deepEqual(tablesOf(text), [
    table('docker.io', 'docker.io', [ours('docker.io')]),
    table('corp.test:5000', 'corp.test:5000', [ours('corp.test__5000')]),
  ])
})

test('says again what the entry says that it replaces', () => {
  const user = file(
    'registries.conf',
    '[[registry]]\nprefix = "quay.io"\nlocation = "corp.test/quay"\ninsecure = true\n' +
      '[[registry.mirror]]\nlocation = "near.test"\npull-from-mirror = "digest-only"\n',
  )
  const { text } = make([user], [], ['quay.io'])
  const theirs = { location: 'near.test', 'pull-from-mirror': 'digest-only' }
  assert.deepEqual(tablesOf(text), [
    { ...table('quay.io', 'corp.test/quay', [ours('corp.test/quay'), theirs]), insecure: true },
  ])
})

test('leaves alone what is blocked, what a later file says, and names that are no host', () => {
  const before = file(
    'registries.conf',
    'unqualified-search-registries = ["short.test"]\n' +
      '[[registry]]\nlocation = "gcr.io"\nblocked = true\n' +
      '[[registry]]\nprefix = "*.wild.test"\n[[registry]]\nlocation = "ghcr.io/acme"\n',
  )
  const later = file('registries.conf.d/90-corp.conf', '[[registry]]\nlocation = "ghcr.io"\n')
  const conf = make([before], [later], ['gcr.io', 'ghcr.io'])
  assert.deepEqual(conf.registries, ['short.test'])
  assert.deepEqual(conf.notes, [
    'gcr.io: blocked by /etc/containers/registries.conf',
    'ghcr.io: left to /etc/containers/registries.conf.d/90-corp.conf, which is read later',
  ])
})

test('tells by all files together whether a registry has the node as its first mirror', () => {
  const { text } = make([], [], ['docker.io', 'ghcr.io'])
  const all = [{ path: OWN, text }, file('90.conf', '[[registry]]\nlocation = "ghcr.io"\n')]
  assert.equal(isMirrored(all, { host: 'docker.io', address: ADDRESS }), true)
  assert.equal(isMirrored(all, { host: 'docker.io', address: '127.0.0.1:1' }), false)
  assert.equal(isMirrored(all, { host: 'ghcr.io', address: ADDRESS }), false)
  assert.deepEqual(
    entriesOf(all).map(({ prefix }) => prefix),
    ['docker.io', 'ghcr.io'],
  )
})

function make(
  before: readonly RegistriesFile[],
  later: readonly RegistriesFile[],
  registries: readonly string[],
) {
  return makeRegistriesConf({ address: ADDRESS, registries, before, later })
}

function file(name: string, text: string): RegistriesFile {
  return { path: `/etc/containers/${name}`, text }
}

function tablesOf(text: string): unknown {
  return (JSON.parse(JSON.stringify(parse(text))) as { registry: unknown }).registry
}

function ours(path: string): object {
  return { location: `${ADDRESS}/${path}`, insecure: true }
}

function table(prefix: string, location: string, mirror: readonly object[]): object {
  return { prefix, location, mirror }
}
