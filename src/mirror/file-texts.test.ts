import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as fc from 'fast-check'
import { parse, stringify } from 'smol-toml'

import { isOperationError } from '../errors.ts'
import { addBuildkitMirrors } from './buildkitd-config.ts'
import { hostsFoldersOf, setHostsFolder } from './containerd-config.ts'
import { addRegistryMirror, removeRegistryMirror } from './daemon-json.ts'
import { addMirrorHost, isMirrorFirst } from './hosts-toml.ts'
import { insertAll, rememberAll, stripAll, type Insertion } from './text-edit.ts'

const MIRROR = 'http://127.0.0.1:5151'
const ADDRESS = '127.0.0.1:5151'
const path = '/etc/x'

const addHost = (text: string | undefined) => addMirrorHost(text, { mirror: MIRROR, path })
const addFolder = (text: string | undefined) =>
  setHostsFolder(text, { folder: '/etc/certs.d', path })
const addMirror = (text: string | undefined) => addRegistryMirror(text, { mirror: MIRROR, path })
const addBuildkit = (text: string | undefined) =>
  addBuildkitMirrors(text, { address: ADDRESS, registries: ['docker.io'], path })

type Add = (text: string | undefined) => readonly Insertion[]

const GOLDEN: readonly (readonly [string, Add, string, string])[] = [
  [
    'hosts.toml: behind the settings of the registry, before its hosts',
    addHost,
    'server = "https://a.test"\n# near\n[host."https://b.test"]\n',
    'server = "https://a.test"\n# near\n# ddocker: asked first\n[host."http://127.0.0.1:5151"]\n  capabilities = ["pull", "resolve"]\n\n[host."https://b.test"]\n',
  ],
  [
    'hosts.toml: at the end of one without a last newline, with its line ends',
    addHost,
    'server = "https://a.test"\r\nskip_verify = true',
    'server = "https://a.test"\r\nskip_verify = true\r\n# ddocker: asked first\r\n[host."http://127.0.0.1:5151"]\r\n  capabilities = ["pull", "resolve"]\r\n',
  ],
  [
    'hosts.toml: not where a text only looks like a table',
    addHost,
    'server = """\n[host.x]\n"""\n',
    'server = """\n[host.x]\n"""\n# ddocker: asked first\n[host."http://127.0.0.1:5151"]\n  capabilities = ["pull", "resolve"]\n',
  ],
  [
    'config.toml: between the quotes of an empty value',
    addFolder,
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "" # none\n',
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/certs.d" # none\n',
  ],
  [
    'config.toml: below the header of the table',
    addFolder,
    "version = 3\n  [ plugins . 'io.containerd.cri.v1.images' . registry ]\n  x = 1\n",
    'version = 3\n  [ plugins . \'io.containerd.cri.v1.images\' . registry ]\n    config_path = "/etc/certs.d" # ddocker\n  x = 1\n',
  ],
  [
    'config.toml: of version 1',
    addFolder,
    'root = "/x"',
    'root = "/x"\n\n# ddocker: where the CRI plugin finds hosts.toml\n[plugins.cri.registry]\n  config_path = "/etc/certs.d"\n',
  ],
  [
    'daemon.json: on one line',
    addMirror,
    '{"a":1}',
    '{"registry-mirrors": ["http://127.0.0.1:5151"],"a":1}',
  ],
  ['daemon.json: empty', addMirror, '{}\n', '{"registry-mirrors": ["http://127.0.0.1:5151"]}\n'],
  [
    'daemon.json: empty on two lines',
    addMirror,
    '{\n}',
    '{\n  "registry-mirrors": ["http://127.0.0.1:5151"]\n}',
  ],
  [
    'daemon.json: as the user indents',
    addMirror,
    '{\r\n    "a": [1, {"registry-mirrors": ["no"]}]\r\n}\r\n',
    '{\r\n    "registry-mirrors": ["http://127.0.0.1:5151"],\r\n    "a": [1, {"registry-mirrors": ["no"]}]\r\n}\r\n',
  ],
  [
    'daemon.json: before other mirrors',
    addMirror,
    '{"registry-mirrors" : [\n  "https://a.test"\n]}',
    '{"registry-mirrors" : [\n  "http://127.0.0.1:5151",\n  "https://a.test"\n]}',
  ],
  [
    'buildkitd.toml: before other mirrors, and as plain HTTP',
    addBuildkit,
    '[registry."docker.io"]\nmirrors = [\n  "a.test",\n]\n',
    '[registry."docker.io"]\nmirrors = [\n  "127.0.0.1:5151", "a.test",\n]\n\n# ddocker: asked first\n[registry."127.0.0.1:5151"]\n  http = true\n',
  ],
]

for (const [name, add, before, after] of GOLDEN) {
  test(`puts the node in front: ${name}`, () => {
    const insertions = add(before)
    assert.equal(insertAll(before, insertions), after)
    assert.deepEqual(stripAll(after, rememberAll(before, insertions)), {
      text: before,
      isComplete: true,
    })
  })
}

const NOTHING: readonly (readonly [string, Add, string])[] = [
  ['hosts.toml', addHost, '[host."http://127.0.0.1:5151"]\n[host."https://b.test"]\n'],
  [
    'config.toml',
    addFolder,
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/a:/b"\n',
  ],
  ['daemon.json', addMirror, '{"registry-mirrors": ["http://127.0.0.1:5151/", "https://b.test"]}'],
  [
    'buildkitd.toml',
    addBuildkit,
    '[registry."docker.io"]\nmirrors = ["127.0.0.1:5151"]\n[registry."127.0.0.1:5151"]\nhttp = true\n',
  ],
]

for (const [name, add, text] of NOTHING) {
  test(`adds nothing where the user has done it: ${name}`, () => {
    assert.deepEqual(add(text), [])
  })
}

const REFUSED: readonly (readonly [string, Add, string])[] = [
  [
    'hosts.toml with the node behind another host',
    addHost,
    '[host."https://b.test"]\n[host."http://127.0.0.1:5151"]\n',
  ],
  [
    'hosts.toml whose node may not resolve',
    addHost,
    '[host."http://127.0.0.1:5151"]\ncapabilities = ["pull"]\n',
  ],
  ['hosts.toml with its hosts on one line', addHost, 'host = {"https://b.test" = {}}\n'],
  ['config.toml with its plugins on one line', addFolder, 'version = 2\nplugins = {}\n'],
  ['config.toml of version 9', addFolder, 'version = 9\n'],
  [
    'daemon.json with the node behind another mirror',
    addMirror,
    '{"registry-mirrors": ["https://b.test", "http://127.0.0.1:5151"]}',
  ],
  [
    'daemon.json with a key twice',
    addMirror,
    '{"registry-mirrors": [], "registry-mirrors": ["https://b.test"]}',
  ],
  ['daemon.json whose mirrors are no list', addMirror, '{"registry-mirrors": "https://b.test"}'],
]

for (const [name, add, text] of REFUSED) {
  test(`refuses: ${name}`, () => {
    assert.throws(() => add(text), { code: 'MIRROR_FILE_INVALID' })
  })
}

test('puts the node before nothing else but what a new file needs', () => {
  const folder = {
    authorities: ['a.crt'],
    clientPairs: [['b.cert', 'b.key'] as const],
    insecureHost: 'x:5000',
  }
  const [insertion] = addMirrorHost(undefined, { mirror: MIRROR, folder, path })
  assert.deepEqual(JSON.parse(JSON.stringify(parse(insertion?.text ?? ''))), {
    server: 'http://x:5000',
    skip_verify: true,
    ca: ['a.crt'],
    client: [['b.cert', 'b.key']],
    host: { [MIRROR]: { capabilities: ['pull', 'resolve'] } },
  })
})

const name = fc.oneof(
  fc.constantFrom(
    'a',
    'host',
    'plugins',
    'registry',
    'docker.io',
    'registry-mirrors',
    'https://b.test',
    'mirrors',
    'io.containerd.grpc.v1.cri',
    'config_path',
    'version',
    '__proto__x',
  ),
  fc.string({ unit: 'grapheme' }),
)
const scalar = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.integer(),
  fc.boolean(),
  fc.constant('[a.b]\n[host.x]'),
)
const { tree } = fc.letrec((tie) => ({
  tree: fc.dictionary(name, tie('value'), { maxKeys: 5 }),
  value: fc.oneof({ maxDepth: 4 }, scalar, fc.array(scalar, { maxLength: 3 }), tie('tree')),
}))
const comment = fc.constantFrom('', '# note\n', '\n\n', '  # [host."x"]\n')
const isCrlf = fc.boolean()
const endsOpen = fc.boolean()

/** The edit is refused, or it can be read, says what it should, and comes out again to the byte. */
function holds(text: string, add: Add, isRight: (after: string) => boolean): void {
  let insertions: readonly Insertion[]
  try {
    insertions = add(text)
  } catch (error) {
    assert.ok(isOperationError(error, 'MIRROR_FILE_INVALID'), String(error))
    return
  }
  const after = insertAll(text, insertions)
  assert.ok(isRight(after), after)
  assert.deepEqual(add(after), [])
  assert.equal(stripAll(after, rememberAll(text, insertions)).text, text)
}

test('keeps every byte of any TOML', () => {
  fc.assert(
    fc.property(tree, comment, isCrlf, endsOpen, (table, above, crlf, open) => {
      const written = above + stringify(table)
      const text = (open ? written.trimEnd() : written).replaceAll('\n', crlf ? '\r\n' : '\n')
      holds(text, addHost, (after) => isMirrorFirst(parse(after), MIRROR))
      holds(text, addFolder, (after) => hostsFoldersOf(parse(after)).length > 0)
      holds(text, addBuildkit, (after) => after.includes(ADDRESS) && parse(after) !== undefined)
    }),
    { numRuns: 200 },
  )
})

test('keeps every byte of any JSON', () => {
  const indent = fc.constantFrom('', ' ', '\t', '    ')
  fc.assert(
    fc.property(tree, indent, isCrlf, endsOpen, (settings, space, crlf, open) => {
      const written = JSON.stringify(settings, undefined, space) + (open ? '' : '\n')
      const text = written.replaceAll('\n', crlf ? '\r\n' : '\n')
      holds(text, addMirror, (after) => {
        const { 'registry-mirrors': mirrors } = JSON.parse(after) as {
          'registry-mirrors': string[]
        }
        return mirrors[0] === MIRROR
      })
    }),
    { numRuns: 300 },
  )
})

test('takes a mirror out of any JSON by its meaning', () => {
  const mirrors = fc.array(fc.constantFrom<string[]>('https://a.test', 'https://b.test'), {
    maxLength: 3,
  })
  fc.assert(
    fc.property(
      tree,
      mirrors,
      fc.nat(3),
      fc.constantFrom('', '  '),
      (settings, others, at, space) => {
        const before = { ...settings, ...(others.length > 0 && { 'registry-mirrors': others }) }
        const list = others.toSpliced(at, 0, MIRROR)
        const text = JSON.stringify({ ...settings, 'registry-mirrors': list }, undefined, space)
        const expected: Record<string, unknown> = { ...before }
        if (others.length === 0) delete expected['registry-mirrors']
        assert.deepEqual(
          JSON.parse(removeRegistryMirror(text, MIRROR)),
          JSON.parse(JSON.stringify(expected)),
        )
      },
    ),
    { numRuns: 200 },
  )
})
