import assert from 'node:assert/strict'
import { glob, readFile } from 'node:fs/promises'
import { basename, dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

/** Rooms from the ground up. A file may import from its own room or from a lower level. */
const LEVELS = [
  ['errors.ts', 'version.ts'],
  ['support'],
  ['oci', 'telemetry'],
  ['membership'],
  ['store', 'catalog', 'discovery', 'docker', 'http', 'peering', 'upstream', 'mirror'],
  ['torrent'],
  ['sandbox'],
  ['transfer'],
  ['registry', 'warmup', 'status', 'config', 'control', 'publication'],
  ['node'],
  ['node.ts'],
  ['commands'],
  ['cli.ts'],
]

/** Where each outside package lives; types may be imported anywhere. */
const HOMES: Readonly<Record<string, readonly string[]>> = {
  '@koa/router': ['registry', 'status'],
  bencode: ['membership', 'torrent', 'transfer', 'discovery'],
  'bittorrent-dht': ['discovery'],
  'bittorrent-protocol': ['torrent'],
  'cli-progress': ['commands'],
  'cli-table3': ['commands'],
  'ipaddr.js': ['discovery', 'upstream'],
  'smol-toml': ['mirror'],
  tldts: ['upstream'],
  undici: ['upstream'],
  uqr: ['commands'],
  commander: ['commands', 'cli.ts'],
  dockerode: ['docker'],
  koa: ['registry', 'status'],
  level: ['catalog'],
  'lru-cache': ['membership', 'peering', 'transfer', 'docker', 'discovery', 'store'],
  pino: ['telemetry'],
  'pino-pretty': ['telemetry'],
  'prom-client': ['telemetry'],
  'range-parser': ['http'],
  'tar-stream': ['docker', 'commands'],
  webtorrent: ['torrent'],
}

const VAGUE_NAMES = [
  'index.ts',
  'utils.ts',
  'util.ts',
  'helpers.ts',
  'types.ts',
  'common.ts',
  'misc.ts',
]

test('imports only point downwards', async () => {
  const wrong: string[] = []
  for await (const { file, source } of sources()) {
    assert.notEqual(
      levelOf(roomOf(file)),
      -1,
      `${roomOf(file)} has no level: add it here and to ARCHITECTURE.md`,
    )
    for (const [, specifier] of source.matchAll(/(?:from|import\() ?'(\.[^']+\.ts)'/g)) {
      const target = normalize(join(dirname(file), specifier ?? ''))
      const [from, to] = [roomOf(file), roomOf(target)]
      if (from !== to && levelOf(to) >= levelOf(from)) wrong.push(`${file} -> ${target}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('each outside package is imported from its home only', async () => {
  const wrong: string[] = []
  for await (const { file, source } of sources()) {
    for (const [, isType, specifier = ''] of source.matchAll(
      /import (type )?[^'";]*from '([^.'][^']*)'/g,
    )) {
      if (isType || specifier.startsWith('node:')) continue
      const name = specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/')
      if (HOMES[name]?.includes(roomOf(file)) !== true) wrong.push(`${file}: ${specifier}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('no file has a name that says nothing', async () => {
  const wrong: string[] = []
  for await (const { file } of sources()) if (VAGUE_NAMES.includes(basename(file))) wrong.push(file)
  assert.deepEqual(wrong, [])
})

test('every error code is used, and every one that is used is known', async () => {
  const { ERROR_CODES } = await import('./errors.ts')
  const used = new Set<string>()
  for await (const { file, source } of sources()) {
    if (file === 'errors.ts') continue
    for (const [, code = ''] of source.matchAll(/'([A-Z]+(?:_[A-Z]+)*)'/g)) used.add(code)
  }
  assert.deepEqual(
    ERROR_CODES.filter((code) => !used.has(code)),
    [],
  )
})

const roomOf = (path: string): string => path.split('/')[0] ?? path
const levelOf = (room: string): number => LEVELS.findIndex((rooms) => rooms.includes(room))

/** Everything that ships: no tests, nothing that only tests use. */
async function* sources(): AsyncIterable<{ file: string; source: string }> {
  for await (const file of glob('**/*.ts', { cwd: import.meta.dirname })) {
    if (file.endsWith('.test.ts') || file.endsWith('.d.ts') || file.startsWith('testing/')) continue
    const source = await readFile(join(import.meta.dirname, file), 'utf8')
    if (!source.includes("'node:test'")) yield { file, source }
  }
}
