import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf, hexOf } from '../oci/digest.ts'
import { parseManifest } from '../oci/manifest.ts'
import { makeDataDir } from '../testing/command-line.ts'
import { makeDemoImage } from './demo-image.ts'

const created = new Date(0)

test('the image of the demo is a whole OCI layout with right digests', async (t) => {
  const folder = await makeDataDir(t)
  const { digest, layers } = await makeDemoImage(folder, { size: 100_000, seed: 'x', created })
  const read = (wanted: string) => readFile(join(folder, 'blobs/sha256', wanted.slice(7)))
  const index = parseManifest(await readFile(join(folder, 'index.json')))
  assert.equal(index.kind === 'index' && index.manifests[0]?.digest, digest)
  const manifest = parseManifest(await read(digest))
  assert.ok(manifest.kind === 'image')
  assert.equal(layers.length, 3)
  for (const layer of [manifest.config, ...manifest.layers]) {
    const content = await read(layer.digest)
    assert.equal(content.length, layer.size)
    assert.equal(digestOf(content), layer.digest)
  }
  const config = JSON.parse((await read(manifest.config.digest)).toString()) as {
    rootfs: { diff_ids: string[] }
  }
  assert.deepEqual(
    config.rootfs.diff_ids,
    layers.map((layer) => layer.digest),
  )
  assert.deepEqual(JSON.parse(await readFile(join(folder, 'oci-layout'), 'utf8')), {
    imageLayoutVersion: '1.0.0',
  })
})

test('its layers are tar files with one file of random bytes', async (t) => {
  const folder = await makeDataDir(t)
  const { layers } = await makeDemoImage(folder, { size: 100_000, seed: 'x', created })
  for (const [index, { digest, size }] of layers.entries()) {
    const tar = await readFile(join(folder, 'blobs/sha256', hexOf(digest)))
    const header = tar.subarray(0, 512)
    const text = (start: number, end: number) =>
      header.toString('latin1', start, end).replace(/\0.*$/, '')
    assert.equal(text(0, 100), `demo/layer-${index + 1}`)
    assert.equal(text(257, 263), 'ustar')
    const bytes = Number.parseInt(text(124, 136), 8)
    assert.equal(size, 512 + Math.ceil(bytes / 512) * 512 + 1024)
    const sum = header.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0)
    assert.equal(Number.parseInt(text(148, 156), 8), sum)
    assert.match(header.toString('latin1', 148, 156), /^[0-7]{6}\0 $/)
    assert.deepEqual(tar.subarray(-1024), Buffer.alloc(1024))
    assert.ok(new Set(tar.subarray(512, 512 + bytes)).size > 200)
  }
})

test('the same seed makes the same image, another one another', async (t) => {
  const make = async (seed: string) =>
    (await makeDemoImage(await makeDataDir(t), { size: 10_000, seed, created })).digest
  assert.equal(await make('x'), await make('x'))
  assert.notEqual(await make('x'), await make('y'))
})
