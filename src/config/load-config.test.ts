import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'

import { isOperationError } from '../errors.ts'
import type { HostFacts } from './host-facts.ts'
import { loadConfig, resolveDataDir, type Flags } from './load-config.ts'
import { environmentNameOf, fileKeyOf, OPTION_KEYS, OPTIONS, type Config } from './options.ts'

function hostFacts(facts: Partial<HostFacts> = {}): HostFacts {
  return {
    environment: {},
    hostName: 'laptop',
    homeDir: '/home/ada',
    workingDir: '/somewhere',
    isRoot: false,
    ...facts,
  }
}

async function makeDataDir(t: TestContext, file?: unknown): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ddocker-config-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  if (file !== undefined) {
    const text = typeof file === 'string' ? file : JSON.stringify(file)
    await writeFile(join(path, 'config.json'), text)
  }
  return path
}

async function refusalOf(work: () => unknown): Promise<string> {
  try {
    await work()
  } catch (error) {
    assert.ok(isOperationError(error, 'CONFIG_INVALID'), String(error))
    return error.message
  }
  return assert.fail('it was accepted')
}

test('without any word, every option has the default of the design', async () => {
  assert.deepEqual(await loadConfig({}, hostFacts()), {
    dataDir: '/home/ada/.local/share/ddocker',
    registry: { host: '127.0.0.1', port: 5151 },
    peerPort: 6881,
    peerHost: undefined,
    nodeName: 'laptop',
    swarm: 'closed',
    swarmKeyFile: undefined,
    discovery: ['lan', 'mainline'],
    publicPort: 6882,
    publicDiscovery: ['mainline'],
    dockerHost: 'auto',
    upstream: true,
    insecureUpstreams: [],
    localUpstreams: [],
    upstreamCaFile: undefined,
    dockerConfigFile: '/home/ada/.docker/config.json',
    passCredentials: [],
    accessLifetimeMs: 600_000,
    tagFreshness: [],
    offlineTags: true,
    maxPushBytes: 32 * 1024 ** 3,
    maxDiskBytes: undefined,
    uploadBytesPerSecond: undefined,
    downloadBytesPerSecond: undefined,
    upstreamBytesPerSecond: undefined,
    logLevel: 'info',
  } satisfies Config)
})

test('the configuration cannot be changed', async () => {
  assert.ok(Object.isFrozen(await loadConfig({}, hostFacts())))
})

test('the data directory follows the user', () => {
  const cases: [Partial<HostFacts>, Flags, string][] = [
    [{ isRoot: true }, {}, '/var/lib/ddocker'],
    [{ isRoot: true, environment: { XDG_DATA_HOME: '/x' } }, {}, '/var/lib/ddocker'],
    [{ environment: { XDG_DATA_HOME: '/x' } }, {}, '/x/ddocker'],
    [{ environment: { XDG_DATA_HOME: 'relative' } }, {}, '/home/ada/.local/share/ddocker'],
    [{ environment: { DDOCKER_DATA_DIR: 'mine' } }, {}, '/somewhere/mine'],
    [{ environment: { DDOCKER_DATA_DIR: '' } }, {}, '/home/ada/.local/share/ddocker'],
    [{ environment: { DDOCKER_DATA_DIR: '/a' } }, { dataDir: '/b/../c/' }, '/c'],
    [{}, { dataDir: '~/d' }, '/home/ada/d'],
  ]
  for (const [facts, flags, wanted] of cases) {
    assert.equal(resolveDataDir(flags, hostFacts(facts)), wanted)
  }
})

/** For every option: three texts that differ, and what they become. */
const VALUES: { [Key in keyof Omit<Config, 'dataDir'>]: [string, Config[Key]][] } = {
  registry: [
    ['127.0.0.1:1', { host: '127.0.0.1', port: 1 }],
    ['[::1]:2', { host: '::1', port: 2 }],
    ['3', { host: '127.0.0.1', port: 3 }],
  ],
  peerPort: [
    ['1', 1],
    ['0', 0],
    ['65535', 65_535],
  ],
  publicPort: [
    ['1', 1],
    ['0', 0],
    ['65535', 65_535],
  ],
  publicDiscovery: [
    ['none', ['none']],
    ['lan', ['lan']],
    ['mainline, lan', ['mainline', 'lan']],
  ],
  peerHost: [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['[::]', '::'],
  ],
  nodeName: [
    ['a', 'a'],
    ['b-1.x', 'b-1.x'],
    ['c__d', 'c__d'],
  ],
  swarm: [
    ['public', 'public'],
    ['closed', 'closed'],
    ['public', 'public'],
  ],
  swarmKeyFile: [
    ['/a', '/a'],
    ['b', '/somewhere/b'],
    ['~/c', '/home/ada/c'],
  ],
  discovery: [
    ['none', ['none']],
    ['lan', ['lan']],
    ['static:h:1, dns:d,lan,lan', ['static:h:1', 'dns:d', 'lan']],
  ],
  dockerHost: [
    ['none', 'none'],
    ['/run/d.sock', 'unix:///run/d.sock'],
    ['tcp://h:2375', 'tcp://h:2375'],
  ],
  upstream: [
    ['off', false],
    ['on', true],
    ['off', false],
  ],
  insecureUpstreams: [
    ['h:5000', ['h:5000']],
    ['A,b:1', ['a', 'b:1']],
    ['[::1]:5000', ['[::1]:5000']],
  ],
  localUpstreams: [
    ['127.0.0.1:5000', ['127.0.0.1:5000']],
    ['A,b:1', ['a', 'b:1']],
    ['[::1]:5000', ['[::1]:5000']],
  ],
  upstreamCaFile: [
    ['/ca.pem', '/ca.pem'],
    ['none', undefined],
    ['~/ca.pem', '/home/ada/ca.pem'],
  ],
  dockerConfigFile: [
    ['none', undefined],
    ['/c.json', '/c.json'],
    ['c.json', '/somewhere/c.json'],
  ],
  passCredentials: [
    ['ghcr.io', ['ghcr.io']],
    ['A,b:1', ['a', 'b:1']],
    ['h', ['h']],
  ],
  accessLifetimeMs: [
    ['30s', 30_000],
    ['0', 0],
    ['2h', 7_200_000],
  ],
  tagFreshness: [
    ['*=1m', [{ pattern: '*', ms: 60_000 }]],
    [
      'ghcr.io/a/*=500ms,*:latest=0',
      [
        { pattern: 'ghcr.io/a/*', ms: 500 },
        { pattern: '*:latest', ms: 0 },
      ],
    ],
    ['*:1=1d', [{ pattern: '*:1', ms: 86_400_000 }]],
  ],
  offlineTags: [
    ['off', false],
    ['on', true],
    ['off', false],
  ],
  maxPushBytes: [
    ['1GiB', 1024 ** 3],
    ['none', Number.MAX_SAFE_INTEGER],
    ['5MiB', 5 * 1024 ** 2],
  ],
  maxDiskBytes: [
    ['1MiB', 2 ** 20],
    ['20GiB', 20 * 2 ** 30],
    ['none', undefined],
  ],
  uploadBytesPerSecond: [
    ['50MiB/s', 50 * 2 ** 20],
    ['2048', 2048],
    ['none', undefined],
  ],
  downloadBytesPerSecond: [
    ['1kib/s', 1024],
    ['1.5MB', 1_500_000],
    ['none', undefined],
  ],
  upstreamBytesPerSecond: [
    ['1GiB/s', 2 ** 30],
    ['5kb', 5000],
    ['none', undefined],
  ],
  logLevel: [
    ['debug', 'debug'],
    ['silent', 'silent'],
    ['warn', 'warn'],
  ],
}

test('every option is taken from config.json, over that the environment, over that the flag', async (t) => {
  for (const [key, values] of Object.entries(VALUES) as [
    keyof typeof VALUES,
    [string, unknown][],
  ][]) {
    const option = OPTIONS[key]
    const [[fileText, fileValue] = [], [envText, envValue] = [], [flagText, flagValue] = []] =
      values
    const dataDir = await makeDataDir(t, { [fileKeyOf(option)]: fileText })
    const environment = { [environmentNameOf(option)]: envText }
    const flag = { [fileKeyOf(option)]: flagText }
    const read = async (flags: Flags, facts: Partial<HostFacts>) =>
      (await loadConfig({ dataDir, ...flags }, hostFacts(facts)))[key]
    assert.deepEqual(await read({}, {}), fileValue, `${key} from the file`)
    assert.deepEqual(await read({}, { environment }), envValue, `${key} from the environment`)
    assert.deepEqual(await read(flag, { environment }), flagValue, `${key} from the flag`)
  }
})

test('config.json may hold numbers, switches and lists, and keys spelled as flags', async (t) => {
  const dataDir = await makeDataDir(t, {
    'peer-port': 7000,
    maxDisk: 2_000_000_000,
    upstream: false,
    discovery: ['lan', 'static:10.0.0.1:6881'],
    insecureUpstream: ['reg:5000'],
  })
  const config = await loadConfig({ dataDir }, hostFacts())
  assert.equal(config.peerPort, 7000)
  assert.equal(config.maxDiskBytes, 2_000_000_000)
  assert.equal(config.upstream, false)
  assert.deepEqual(config.discovery, ['lan', 'static:10.0.0.1:6881'])
  assert.deepEqual(config.insecureUpstreams, ['reg:5000'])
})

test('an empty config.json, and none, say nothing', async (t) => {
  for (const file of ['', ' \n', {}, undefined]) {
    const dataDir = await makeDataDir(t, file)
    assert.equal((await loadConfig({ dataDir }, hostFacts())).peerPort, 6881)
  }
})

test('DOCKER_HOST names the engine, and DDOCKER_DOCKER_HOST comes before it', async () => {
  const read = async (environment: HostFacts['environment'], flags: Flags = {}) =>
    (await loadConfig(flags, hostFacts({ environment }))).dockerHost
  const theirs = { DOCKER_HOST: 'unix:///theirs' }
  assert.equal(await read(theirs), 'unix:///theirs')
  assert.equal(await read({ DOCKER_HOST: '' }), 'auto')
  assert.equal(await read({ ...theirs, DDOCKER_DOCKER_HOST: 'unix:///ours' }), 'unix:///ours')
  assert.equal(await read({ DDOCKER_DOCKER_HOST: 'unix:///ours', ...theirs }), 'unix:///ours')
  assert.equal(await read(theirs, { dockerHost: 'none' }), 'none')
  assert.equal(
    await refusalOf(() => read({ DOCKER_HOST: 'ssh://me@there' })),
    'DOCKER_HOST: wanted unix:///path, tcp://host:port or none, found "ssh://me@there"',
  )
})

test('a value that does not fit is refused with its place, what was wanted and what was found', async () => {
  const cases: [Flags, string][] = [
    [{ peerPort: '70000' }, '--peer-port: wanted a port from 0 to 65535, found "70000"'],
    [{ peerPort: '-1' }, '--peer-port: wanted a port from 0 to 65535, found "-1"'],
    [{ peerPort: '' }, '--peer-port: wanted a port from 0 to 65535, found nothing'],
    [{ registry: 'x' }, '--registry: wanted an address such as 127.0.0.1:5151, found "x"'],
    [{ registry: '127.0.0.1:99999' }, '--registry: wanted a port from 0 to 65535, found "99999"'],
    [{ peerHost: 'a b' }, '--peer-host: wanted an address of this host, found "a b"'],
    [
      { nodeName: 'Big' },
      '--node-name: wanted a name of lower-case letters, digits, ".", "_" and "-", at most 64 characters, found "Big"',
    ],
    [
      { nodeName: 'a/b' },
      '--node-name: wanted a name of lower-case letters, digits, ".", "_" and "-", at most 64 characters, found "a/b"',
    ],
    [{ swarm: 'open' }, '--swarm: wanted closed or public, found "open"'],
    [{ upstream: 'yes' }, '--upstream: wanted on or off, found "yes"'],
    [
      { insecureUpstream: ['http://h'] },
      '--insecure-upstream: wanted a registry such as 10.0.0.5:5000, found "http://h"',
    ],
    [
      { maxDisk: '20 apples' },
      '--max-disk: wanted a size such as 20GiB or 500MB, found "20 apples"',
    ],
    [
      { maxDisk: '0' },
      '--max-disk: wanted at least 1048576 bytes, or none for no limit, found "0"',
    ],
    [
      { maxDisk: '99999999TiB' },
      '--max-disk: wanted a size that a disk can have, found "99999999TiB"',
    ],
    [
      { uploadLimit: '5' },
      '--upload-limit: wanted at least 1024 bytes, or none for no limit, found "5"',
    ],
    [
      { logLevel: 'loud' },
      '--log-level: wanted error or warn or info or debug or silent, found "loud"',
    ],
    [{ dataDir: '' }, '--data-dir: wanted a path, found nothing'],
    [{ dataDir: 'a\0b' }, '--data-dir: wanted a path, found "a\0b"'],
  ]
  for (const [flags, message] of cases) {
    assert.equal(await refusalOf(() => loadConfig(flags, hostFacts())), message)
  }
  const environment = { DDOCKER_DISCOVERY: 'carrier-pigeon' }
  const message = await refusalOf(() => loadConfig({}, hostFacts({ environment })))
  assert.match(message, /^DDOCKER_DISCOVERY: wanted lan, mainline, .* found "carrier-pigeon"$/)
})

test('an unknown variable is refused, and the nearest one named', async () => {
  const cases: [string, string][] = [
    [
      'DDOCKER_PEER_PROT',
      'variable "DDOCKER_PEER_PROT" is unknown (did you mean "DDOCKER_PEER_PORT"?)',
    ],
    ['DDOCKER_SOMETHING_ELSE', 'variable "DDOCKER_SOMETHING_ELSE" is unknown'],
  ]
  for (const [name, message] of cases) {
    const host = hostFacts({ environment: { [name]: '1' } })
    assert.equal(await refusalOf(() => loadConfig({}, host)), message)
    assert.equal(await refusalOf(() => resolveDataDir({}, host)), message)
  }
})

test('the variables that Kubernetes sets for a Service called ddocker are not ours', async () => {
  const environment = {
    DDOCKER_SERVICE_HOST: '10.0.0.1',
    DDOCKER_SERVICE_PORT: '5151',
    DDOCKER_SERVICE_PORT_REGISTRY: '5151',
    DDOCKER_PORT: 'tcp://10.0.0.1:5151',
    DDOCKER_PORT_5151_TCP: 'tcp://10.0.0.1:5151',
    DDOCKER_PORT_5151_TCP_ADDR: '10.0.0.1',
  }
  assert.equal((await loadConfig({}, hostFacts({ environment }))).peerPort, 6881)
})

test('what is wrong in config.json is told with its path', async (t) => {
  const cases: [unknown, RegExp][] = [
    ['{', /config\.json: wanted JSON, found: .+/],
    ['[]', /config\.json: wanted a JSON object such as \{"peerPort": 6881\}/],
    ['null', /config\.json: wanted a JSON object/],
    [{ peerprot: 1 }, /config\.json: key "peerprot" is unknown \(did you mean "peerPort"\?\)/],
    [{ peerPort: 1, 'peer-port': 2 }, /config\.json: peer-port: it is there twice/],
    [
      { peerPort: {} },
      /config\.json: peerPort: wanted a text, a number or a list of texts, found \{\}/,
    ],
    [{ peerPort: null }, /config\.json: peerPort: wanted .+ found null/],
    [{ peerPort: 70_000 }, /config\.json: peerPort: wanted a port from 0 to 65535, found "70000"/],
    [
      { dataDir: '/elsewhere' },
      /config\.json: wanted the directory it lies in as dataDir, or none/,
    ],
    [' '.repeat(1024 * 1024 + 1), /config\.json: wanted at most 1048576 bytes, found 1048577/],
  ]
  for (const [file, message] of cases) {
    const dataDir = await makeDataDir(t, file)
    assert.match(await refusalOf(() => loadConfig({ dataDir }, hostFacts())), message)
  }
  const dataDir = await makeDataDir(t)
  await mkdir(join(dataDir, 'config.json'))
  assert.match(await refusalOf(() => loadConfig({ dataDir }, hostFacts())), /config\.json: EISDIR/)
})

test('a data directory that is a file says nothing about options', async (t) => {
  const path = join(await makeDataDir(t, 'x'), 'config.json')
  assert.equal((await loadConfig({ dataDir: path }, hostFacts())).peerPort, 6881)
})

test('host names are mended until they fit into an image name', async () => {
  const cases: [string, string][] = [
    ['Ada-MacBook.local', 'ada-macbook.local'],
    ['-x-', 'x'],
    ['a..b', 'a-b'],
    ['Büro 7', 'b-ro-7'],
    ['___', 'node'],
    [`${'a'.repeat(63)}.b`, 'a'.repeat(63)],
    ['a_.b', 'a-b'],
  ]
  for (const [hostName, wanted] of cases) {
    const { nodeName } = await loadConfig({}, hostFacts({ hostName }))
    assert.equal(nodeName, wanted)
    await loadConfig({ nodeName }, hostFacts())
  }
})

test('names of one option belong together in all places', () => {
  for (const key of OPTION_KEYS) {
    const option = OPTIONS[key]
    assert.match(option.name, /^[a-z]+(?:-[a-z]+)*$/)
    assert.equal(
      environmentNameOf(option),
      `DDOCKER_${option.name.replaceAll('-', '_').toUpperCase()}`,
    )
    assert.ok(option.help.length > 0 && option.defaultText.length > 0)
  }
  assert.equal(environmentNameOf({ name: 'swarm-key-file' }), 'DDOCKER_SWARM_KEY_FILE')
  assert.equal(fileKeyOf({ name: 'swarm-key-file' }), 'swarmKeyFile')
})
