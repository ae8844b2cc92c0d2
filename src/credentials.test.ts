import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, before, describe, mock, test } from 'node:test'

import { pino } from 'pino'

import { messageOf } from './errors.ts'
import { canariesIn, filesWithCanaries, makeCanary } from './testing/canaries.ts'
import { isPulled, pullLikeEngine, summaryOf } from './testing/engine-like-pull.ts'
import { openLayoutRegistry, type LayoutRegistry } from './testing/layout-registry.ts'
import { basicGuard, bearerGuard, redirectGuard } from './testing/registry-guards.ts'
import { recordSent, type Sent } from './testing/sent-bytes.ts'
import {
  openTestnet,
  writeLayout,
  type LayoutFixture,
  type TestNode,
  type Testnet,
} from './testing/testnet.ts'

const MIB = 1024 * 1024
const PRIVATE = 'team/secret'
const HELPER = 'ddocker-test'
// of Debian and of most others: nobody
const NOBODY = 65534

/** In the client's own header, in config.json, and in what a credential helper says. */
const client = makeCanary('client')
const configured = makeCanary('config')
const helped = makeCanary('helper')
/** What token servers and registries hand out. */
const token = makeCanary('token')
const canaries = [client, configured, helped, token]

describe('what is private upstream', () => {
  const resources = new AsyncDisposableStack()
  const logged: string[] = []
  let net: Testnet
  let image: LayoutFixture
  /** Basic, with the login of config.json; Bearer, with that of the helper; Basic, with the client's own */
  let basic: LayoutRegistry
  let bearer: LayoutRegistry
  let passed: LayoutRegistry
  /** public */
  let other: LayoutRegistry
  /** as the first, but it sends who wants a blob to the other one */
  let leading: LayoutRegistry
  let led: LayoutFixture
  let holder: TestNode
  let stranger: TestNode
  let sent: readonly Sent[]

  before(async () => {
    sent = recordSent(mock)
    net = resources.use(await openTestnet({ log: recordingLog(logged) }))
    image = await writeLayout(join(net.dir, 'image'), [MIB + 99, 5000])
    basic = resources.use(await openLayoutRegistry({ guard: basicGuard(configured) }))
    bearer = resources.use(await openLayoutRegistry({ guard: bearerGuard(helped, token.password) }))
    passed = resources.use(await openLayoutRegistry({ guard: basicGuard(client) }))
    other = resources.use(await openLayoutRegistry())
    const guard = redirectGuard(basicGuard(configured), `http://${other.address}`)
    leading = resources.use(await openLayoutRegistry({ guard }))
    for (const registry of [basic, bearer, passed]) await registry.add(PRIVATE, image)
    led = await writeLayout(join(net.dir, 'led'), [MIB + 7, 3000])
    for (const registry of [leading, other]) await registry.add('team/led', led)
    const config = {
      upstream: true,
      insecureUpstreams: [basic, bearer, passed, other, leading].map(({ address }) => address),
      passCredentials: [passed.address],
    }
    const dockerConfigFile = await writeLogins(net.dir, {
      basic: [basic, leading],
      helped: [bearer],
    })
    holder = await net.start('holder', { ...config, dockerConfigFile })
    stranger = await net.start('stranger', config)
  })
  after(async () => {
    await resources.disposeAsync()
    mock.restoreAll()
  })

  const pull = (node: TestNode, ns: string | undefined, headers?: Record<string, string>) =>
    pullLikeEngine({
      door: node.node.ready.registry,
      repository: PRIVATE,
      ...(ns !== undefined && { ns }),
      ...(headers && { headers }),
    })

  test('is pulled with the login of config.json, of a helper, or of the client itself', async () => {
    const own = { authorization: client.basic }
    for (const answers of [
      await pull(holder, basic.address),
      await pull(holder, bearer.address),
      await pull(holder, passed.address, own),
    ]) {
      assert.ok(isPulled(answers), summaryOf(answers))
    }
  })

  test('is not given out under another name: of another registry, local/ or node/', async () => {
    for (const name of [
      `${other.address.replace(':', '__')}/${PRIVATE}`,
      `${other.address.replace(':', '__')}/other`,
      `local/${PRIVATE}`,
      `local/${basic.address.replace(':', '__')}/${PRIVATE}`,
      `node/holder/${PRIVATE}`,
      `node/holder/${basic.address.replace(':', '__')}/${PRIVATE}`,
      PRIVATE,
    ]) {
      await assertUnknown(holder, name)
    }
  })

  test('is not given to a client without the right: by tag, by digest, or by blob', async () => {
    // This registry's answers to the node itself count for nobody who brings an own header.
    for (const headers of [{ authorization: basicOf('somebody', 'guessed') }, {}]) {
      await assertUnknown(holder, PRIVATE, { ns: passed.address, headers })
    }
  })

  test('is not given to another user of this host', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('only root can be somebody else')
    for (const path of pathsOf(PRIVATE)) {
      const url = `http://${holder.node.ready.registry}${path}?ns=${basic.address}`
      assert.equal(await statusForNobody(url), 404, path)
    }
  })

  test('is not given to a node of the swarm that has no login', async () => {
    await assertUnknown(stranger, PRIVATE, { ns: basic.address })
    await assertUnknown(stranger, `local/${basic.address.replace(':', '__')}/${PRIVATE}`)
    await assertUnknown(stranger, `node/holder/${basic.address.replace(':', '__')}/${PRIVATE}`)
  })

  test('its credentials do not go along when its registry leads elsewhere', async () => {
    const before = other.requests.length
    const answers = await pullLikeEngine({
      door: holder.node.ready.registry,
      ns: leading.address,
      repository: 'team/led',
    })
    assert.ok(isPulled(answers), summaryOf(answers))
    const arrived = other.requests.slice(before)
    assert.ok(arrived.length >= 2)
    assert.deepEqual(
      arrived.filter((request) => canariesIn(JSON.stringify(request), canaries).length > 0),
      [],
    )
    assert.deepEqual(arrived.map(({ authorization }) => authorization).filter(Boolean), [])
  })

  test('its credentials are nowhere: not in answers, logs, files, or what was sent to others', async () => {
    const said = await everythingSaid(holder, [basic, bearer, passed])
    assert.deepEqual(canariesIn(said, canaries), [])
    assert.deepEqual(canariesIn(logged.join(''), canaries), [])
    assert.deepEqual(await filesWithCanaries(holder.dataDir, canaries), [])
    assert.deepEqual(await filesWithCanaries(stranger.dataDir, canaries), [])
    const portOf = (registry: LayoutRegistry) => Number(registry.address.split(':')[1])
    const allowed = new Map([
      [configured, [portOf(basic), portOf(leading)]],
      [helped, [portOf(bearer)]],
      [token, [portOf(bearer)]],
      // the test is the client
      [client, [portOf(passed), Number(holder.node.ready.registry.split(':')[1])]],
    ])
    for (const [canary, ports] of allowed) {
      const leaks = sent.filter(
        ({ bytes, from = 0, to = 0 }) =>
          !ports.includes(to) && !ports.includes(from) && canariesIn(bytes, [canary]).length > 0,
      )
      assert.deepEqual(
        leaks.map(({ from, to, bytes }) => ({ from, to, text: bytes.toString() })),
        [],
      )
    }
    assert.ok(sent.some(({ bytes }) => canariesIn(bytes, canaries).length > 0))
    assert.ok(logged.length > 0)
  })

  /** Nothing of the image under this name: 404 for tag, manifest and blobs. */
  async function assertUnknown(
    node: TestNode,
    name: string,
    { ns, headers = {} }: { ns?: string; headers?: Record<string, string> } = {},
  ): Promise<void> {
    const paths = pathsOf(name).map((path) => (ns === undefined ? path : `${path}?ns=${ns}`))
    const answers = await Promise.all(paths.map((path) => node.get(path, { headers })))
    for (const answer of answers) {
      assert.equal(answer.status, 404, `${answer.url} ${await answer.text()}`)
      assert.equal(answer.headers.get('www-authenticate'), null)
    }
  }

  function pathsOf(name: string): string[] {
    const blobs = [image.config, ...image.layers.map(({ digest }) => digest)]
    return [
      `/v2/${name}/manifests/1`,
      `/v2/${name}/manifests/${image.manifest}`,
      ...blobs.map((digest) => `/v2/${name}/blobs/${digest}`),
    ]
  }
})

/** A config.json with a login, and with a helper that is on the path of this process. */
async function writeLogins(
  dir: string,
  { basic, helped: byHelper }: Record<'basic' | 'helped', readonly LayoutRegistry[]>,
): Promise<string> {
  const folder = join(dir, 'bin')
  await mkdir(folder)
  const answer = JSON.stringify({ Username: helped.username, Secret: helped.password })
  const script = `#!/bin/sh\ncat > /dev/null\necho '${answer}'\n`
  await writeFile(join(folder, `docker-credential-${HELPER}`), script, { mode: 0o755 })
  process.env['PATH'] = `${folder}${delimiter}${process.env['PATH'] ?? ''}`
  const auth = configured.basic.replace('Basic ', '')
  const document = {
    auths: Object.fromEntries(basic.map(({ address }) => [address, { auth }])),
    credHelpers: Object.fromEntries(byHelper.map(({ address }) => [address, HELPER])),
  }
  const file = join(dir, 'config.json')
  await writeFile(file, JSON.stringify(document))
  return file
}

/** All that a node tells of itself, and of what went wrong. */
async function everythingSaid(
  node: TestNode,
  registries: readonly LayoutRegistry[],
): Promise<string> {
  const said: string[] = []
  for (const path of ['/', ...API_PATHS, '/metrics', '/healthz', '/readyz']) {
    const answer = await node.get(path)
    said.push(JSON.stringify([...answer.headers]), await answer.text())
  }
  const { list, status, peers, pull } = node.node.operations
  said.push(JSON.stringify(await node.run(list, {})))
  said.push(JSON.stringify(await node.run(status, {})))
  said.push(JSON.stringify(await node.run(peers, {})))
  for (const { address } of registries) {
    for (const name of [PRIVATE, 'team/none']) {
      const reference = `${address}/${name}:1`
      const outcome = await node
        .run(pull, { reference, load: false })
        .catch((error: unknown) => [
          messageOf(error),
          JSON.stringify(error),
          error instanceof Error ? `${error.stack ?? ''} ${messageOf(error.cause)}` : '',
        ])
      said.push(JSON.stringify(outcome))
    }
  }
  return said.join('\n')
}

const API_PATHS = ['status', 'images', 'peers', 'transfers'].map((name) => `/api/v1/${name}`)

function recordingLog(lines: string[]) {
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(chunk.toString())
      done()
    },
  })
  return pino({ level: 'trace' }, stream)
}

/** The status that somebody else on this host gets. */
async function statusForNobody(url: string): Promise<number> {
  const program = `fetch(${JSON.stringify(url)}).then(({ status }) => console.log(status))`
  const child = spawn(process.execPath, ['-e', program], {
    uid: NOBODY,
    gid: NOBODY,
    cwd: '/',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return Number(await text(child.stdout))
}

function basicOf(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}
