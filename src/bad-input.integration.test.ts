import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'

import { digestOf, hexOf } from './oci/digest.ts'
import { mustRun, run, type CommandResult } from './testing/lab/child.ts'
import { startDdockerNode, type DdockerNode } from './testing/lab/ddocker-node.ts'
import { requireLab } from './testing/lab/lab-requirements.ts'
import { tempDir, type TempDir } from './testing/temp-dir.ts'
import { writeLayout, type LayoutFixture } from './testing/testnet.ts'

const CLI = join(import.meta.dirname, 'cli.ts')

/** What a person types, how it ends, and what the message must tell. */
interface BadInput {
  readonly what: string
  readonly args: readonly string[]
  readonly exitCode: number
  readonly says: RegExp
}

describe('bad input gets a message that helps, and leaves nothing behind', () => {
  let dir: TempDir
  let node: DdockerNode
  const at = (name: string) => join(dir.path, name)

  before(async () => {
    dir = await tempDir()
    node = await startDdockerNode({ discovery: 'none', nodeName: 'lone' })
    await makeArchives(dir.path)
  })
  after(async () => {
    await node[Symbol.asyncDispose]()
    await dir[Symbol.asyncDispose]()
  })

  const inputs: () => BadInput[] = () => [
    {
      what: 'an unknown image',
      args: ['pull', 'local/none:1', '--no-load'],
      exitCode: 1,
      says: /no node .* knows the name/,
    },
    {
      what: 'a malformed reference',
      args: ['pull', 'App::1'],
      exitCode: 2,
      says: /not a repository name.*name:tag/s,
    },
    {
      what: 'a digest that is not one',
      args: ['pull', 'app@sha256:12'],
      exitCode: 2,
      says: /64 hex digits/,
    },
    {
      what: 'a name with ..',
      args: ['pull', 'a/../b:1'],
      exitCode: 2,
      says: /not a repository name/,
    },
    {
      what: 'a tar that is none',
      args: ['import', at('text.tar')],
      exitCode: 1,
      says: /text\.tar|archive/,
    },
    { what: 'a truncated tar', args: ['import', at('cut.tar')], exitCode: 1, says: /hint/ },
    {
      what: 'a tar without an image',
      args: ['import', at('other.tar')],
      exitCode: 1,
      says: /hint/,
    },
    {
      what: 'a layout with a missing blob',
      args: ['import', at('missing')],
      exitCode: 1,
      says: /sha256:[0-9a-f]{64}/,
    },
    {
      what: 'a layout with a wrong blob',
      args: ['import', at('wrong')],
      exitCode: 1,
      says: /sha256:[0-9a-f]{64}/,
    },
    {
      what: 'a blob larger than its descriptor',
      args: ['import', at('large')],
      exitCode: 1,
      says: /995/,
    },
    {
      what: 'a path where nothing is',
      args: ['import', at('nowhere')],
      exitCode: 1,
      says: /nowhere.*nothing there/,
    },
    {
      what: 'an unknown option',
      args: ['pull', 'app:1', '--no-lod'],
      exitCode: 2,
      says: /--no-load/,
    },
    { what: 'an unknown command', args: ['sed-all'], exitCode: 2, says: /seed-all/ },
    {
      what: 'an engine that is not there',
      args: ['seed', 'app:1'],
      exitCode: 1,
      says: /--docker-host/,
    },
  ]

  test('commands', async (t) => {
    for (const { what, args, exitCode, says } of inputs()) {
      await t.test(what, async () => {
        const said = await node.cli(args)
        assertSaid(said, { exitCode, says })
      })
    }
    const { images } = (await node.cliJson(['ls'])) as { images: unknown[] }
    assert.deepEqual(images, [])
    assert.deepEqual(await readdir(join(node.dataDir, 'tmp')), [])
    assert.deepEqual(await readdir(join(node.dataDir, 'partial')), [])
  })

  test('a second node on the same data directory is kept out', async () => {
    assertSaid(await serve(node.dataDir), { exitCode: 1, says: /another node|in use/ })
    assert.equal((await node.get('/healthz')).status, 200)
  })

  test('ports in use are named', async () => {
    const registry = await serve(at('a'), ['--registry', node.registry])
    assertSaid(registry, { exitCode: 1, says: new RegExp(`${node.registry}.*in use`, 's') })
    const peerPort = await serve(at('b'), ['--peer-port', String(node.ready.peerPort)])
    assertSaid(peerPort, { exitCode: 1, says: new RegExp(`${node.ready.peerPort}.*in use`, 's') })
  })

  test('an unknown key in config.json, the nearest one is suggested', async () => {
    await mkdir(at('c'))
    await writeFile(join(at('c'), 'config.json'), '{"peerPrt": 1}')
    assertSaid(await serve(at('c')), { exitCode: 2, says: /"peerPrt".*"peerPort"/ })
  })

  test('a data directory that cannot be', async () => {
    assertSaid(await serve('/proc/ddocker'), { exitCode: 1, says: /\/proc\/ddocker.*--data-dir/s })
  })

  test('a full and a read-only disk', async (t) => {
    if (!requireLab(t, ['linux', 'root'])) return
    const mount = at('disk')
    await mkdir(mount)
    await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', mount])
    try {
      await writeFile(join(mount, 'filler'), Buffer.alloc(60 * 1024))
      assertSaid(await serve(join(mount, 'data')), { exitCode: 1, says: /Free space/ })
      await rm(join(mount, 'filler'))
      await mustRun('mount', ['-o', 'remount,ro', mount])
      assertSaid(await serve(join(mount, 'data')), { exitCode: 1, says: /--data-dir/ })
    } finally {
      await mustRun('umount', ['-l', mount])
    }
  })

  function serve(dataDir: string, args: readonly string[] = []): Promise<CommandResult> {
    const quiet = {
      '--registry': '127.0.0.1:0',
      '--peer-host': '127.0.0.1',
      '--peer-port': '0',
      '--discovery': 'none',
      '--docker-host': 'none',
    }
    const flags = Object.entries(quiet)
      .filter(([name]) => !args.includes(name))
      .flat()
    const command = [CLI, 'serve', '--data-dir', dataDir, ...flags, ...args]
    return run(process.execPath, command, { timeoutMs: 60_000 })
  }
})

function assertSaid(
  said: CommandResult,
  { exitCode, says }: { exitCode: number; says: RegExp },
): void {
  assert.equal(said.code, exitCode, said.stderr)
  assert.match(said.stderr, /^error: /m)
  assert.match(said.stderr, says)
  assert.match(said.stderr, /^ {2}hint: /m)
}

async function makeArchives(path: string): Promise<void> {
  await writeFile(join(path, 'text.tar'), 'hello')
  await mkdir(join(path, 'other'))
  await writeFile(join(path, 'other/file'), 'x')
  await mustRun('tar', ['-cf', join(path, 'other.tar'), '-C', path, 'other'])
  const whole = await writeLayout(join(path, 'whole'), [300_000])
  await mustRun('tar', ['-cf', join(path, 'whole.tar'), '-C', whole.path, '.'])
  await mustRun('sh', ['-c', 'head -c 200000 "$1/whole.tar" > "$1/cut.tar"', 'sh', path])
  const blobOf = async (name: string) => {
    const { path: folder, layers } = await writeLayout(join(path, name), [1000])
    const [layer] = layers
    assert.ok(layer)
    return { file: join(folder, 'blobs/sha256', hexOf(layer.digest)) }
  }
  await rm((await blobOf('missing')).file)
  await writeFile((await blobOf('wrong')).file, Buffer.alloc(1000))
  await understateLayer(await writeLayout(join(path, 'large'), [1000]))
}

/** Makes the manifest of a layout say that its layer is smaller than it is. */
async function understateLayer({ path, manifest }: LayoutFixture): Promise<void> {
  const folder = join(path, 'blobs/sha256')
  const text = await readFile(join(folder, hexOf(manifest)), 'utf8')
  const changed = Buffer.from(text.replace('"size":1000', '"size":995'))
  const digest = digestOf(changed)
  await writeFile(join(folder, hexOf(digest)), changed)
  const index = await readFile(join(path, 'index.json'), 'utf8')
  const renamed = index.replace(manifest, digest).replace(/"size":\d+/, `"size":${changed.length}`)
  await writeFile(join(path, 'index.json'), renamed)
}
