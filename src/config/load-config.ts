/**
 * One Config out of four layers: defaults < `<data-dir>/config.json` < environment < flags. Each value is
 * carried as the text somebody wrote and where, until its option parses it.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'

import { messageOf, OperationError, systemCodeOf } from '../errors.ts'
import { readHostFacts, type HostFacts } from './host-facts.ts'
import { suggestion } from './nearest-name.ts'
import { environmentNameOf, fileKeyOf, OPTION_KEYS, OPTIONS, type Config } from './options.ts'

/** Flags as the command line gave them, by {@link fileKeyOf}; what is not an option is left alone. */
export type Flags = Readonly<Record<string, unknown>>

/** A value as it was written, and where. */
interface Written {
  readonly text: string
  /** such as `--peer-port`, `DDOCKER_PEER_PORT`, or `config.json: peerPort` */
  readonly where: string
}
type Layer = ReadonlyMap<keyof Config, Written>

const MAX_FILE_BYTES = 1024 * 1024

// Kubernetes sets these for a Service called "ddocker"; the last ones belong to tests and benchmarks
const FOREIGN_VARIABLE =
  /^DDOCKER_(?:SERVICE_(?:HOST|PORT)(?:_\w+)?|PORT(?:_\d+_\w+)?|(?:LAB|TEST|BENCH)\w*)$/

/**
 * The configuration of the node that belongs to this data directory.
 * @throws OperationError CONFIG_INVALID: a value out of its range, an unknown key or variable, config.json not JSON
 */
export async function loadConfig(
  flags: Flags = {},
  host: HostFacts = readHostFacts(),
): Promise<Config> {
  const written = layersAbove(flags, host)
  const dataDir = valueOf('dataDir', written, host)
  const path = join(dataDir, 'config.json')
  const file = await readFileLayer(path)
  if (file.has('dataDir') && valueOf('dataDir', [file], host) !== dataDir) {
    throw new OperationError(
      'CONFIG_INVALID',
      `${path}: wanted the directory it lies in as dataDir, or none`,
    )
  }
  const layers = [...written, file]
  const values = OPTION_KEYS.map((key) => [key, valueOf(key, layers, host)])
  return Object.freeze(Object.fromEntries(values)) as Config
}

/**
 * The data directory alone: all that a command needs which talks to a running node.
 * @throws OperationError CONFIG_INVALID
 */
export function resolveDataDir(flags: Flags = {}, host: HostFacts = readHostFacts()): string {
  return valueOf('dataDir', layersAbove(flags, host), host)
}

function layersAbove(flags: Flags, { environment }: HostFacts): Layer[] {
  return [readFlagLayer(flags), readEnvironmentLayer(environment)]
}

function valueOf<Key extends keyof Config>(
  key: Key,
  layers: readonly Layer[],
  host: HostFacts,
): Config[Key] {
  const option = OPTIONS[key]
  const written = layers.map((layer) => layer.get(key)).find((found) => found !== undefined)
  if (!written) return option.defaultFor(host)
  try {
    return option.parse(written.text.trim(), host)
  } catch (error) {
    if (!(error instanceof OperationError)) throw error
    throw new OperationError(
      'CONFIG_INVALID',
      `${written.where}: ${withoutName(error.message, option.name)}`,
      {
        details: { option: option.name, ...error.details },
        cause: error,
      },
    )
  }
}

/** Parsers of other rooms say which option they read; here that is said better. */
function withoutName(message: string, name: string): string {
  return message.startsWith(`${name}: `) ? message.slice(name.length + 2) : message
}

function readFlagLayer(flags: Flags): Layer {
  const layer = new Map<keyof Config, Written>()
  for (const key of OPTION_KEYS) {
    const where = `--${OPTIONS[key].name}`
    const value = flags[fileKeyOf(OPTIONS[key])]
    if (value !== undefined) layer.set(key, { text: textOf(value, where), where })
  }
  return layer
}

function readEnvironmentLayer(environment: HostFacts['environment']): Layer {
  const keyByName = new Map(OPTION_KEYS.map((key) => [environmentNameOf(OPTIONS[key]), key]))
  const layer = new Map<keyof Config, Written>()
  const engine = environment['DOCKER_HOST']
  if (engine) layer.set('dockerHost', { text: engine, where: 'DOCKER_HOST' })
  for (const [name, text] of Object.entries(environment)) {
    // compose files and units write an empty value where they mean none
    if (!name.startsWith('DDOCKER_') || !text) continue
    const key = keyByName.get(name)
    if (key) layer.set(key, { text, where: name })
    else if (!FOREIGN_VARIABLE.test(name)) throw unknownName('variable', name, keyByName.keys())
  }
  return layer
}

async function readFileLayer(path: string): Promise<Layer> {
  const document = parseDocument(await readConfigFile(path), path)
  const keyByName = new Map(
    OPTION_KEYS.flatMap((key) => [
      [OPTIONS[key].name, key],
      [fileKeyOf(OPTIONS[key]), key],
    ]),
  )
  const layer = new Map<keyof Config, Written>()
  for (const [name, value] of Object.entries(document)) {
    const key = keyByName.get(name)
    const where = `${path}: ${name}`
    if (!key) throw unknownName(`${path}: key`, name, keyByName.keys())
    if (layer.has(key)) throw new OperationError('CONFIG_INVALID', `${where}: it is there twice`)
    layer.set(key, { text: textOf(value, where), where })
  }
  return layer
}

/** @returns undefined where there is no such file */
async function readConfigFile(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, 'r')
    const { size } = await file.stat()
    if (size > MAX_FILE_BYTES) {
      throw new Error(`wanted at most ${MAX_FILE_BYTES} bytes, found ${size}`)
    }
    return await file.readFile('utf8')
  } catch (cause) {
    if (systemCodeOf(cause) === 'ENOENT' || systemCodeOf(cause) === 'ENOTDIR') return undefined
    throw new OperationError('CONFIG_INVALID', `${path}: ${messageOf(cause)}`, { cause })
  }
}

function parseDocument(text: string | undefined, path: string): object {
  if (text === undefined || text.trim() === '') return {}
  try {
    const document: unknown = JSON.parse(text)
    if (typeof document === 'object' && document !== null && !Array.isArray(document)) {
      return document
    }
  } catch (cause) {
    throw new OperationError('CONFIG_INVALID', `${path}: wanted JSON, found: ${messageOf(cause)}`, {
      cause,
    })
  }
  throw new OperationError(
    'CONFIG_INVALID',
    `${path}: wanted a JSON object such as {"peerPort": 6881}`,
  )
}

/** Lists become `a,b`, switches `on` and `off`: one spelling for the option's parser. */
function textOf(value: unknown, where: string): string {
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  if (Array.isArray(value) && value.every((part) => typeof part === 'string')) {
    return value.join(',')
  }
  throw new OperationError(
    'CONFIG_INVALID',
    `${where}: wanted a text, a number or a list of texts, found ${JSON.stringify(value)?.slice(0, 100) ?? 'nothing'}`,
  )
}

function unknownName(what: string, name: string, names: Iterable<string>): OperationError {
  return new OperationError(
    'CONFIG_INVALID',
    `${what} "${name}" is unknown${suggestion(name, names)}`,
  )
}
