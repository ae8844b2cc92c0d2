import { mkdir, readFile } from 'node:fs/promises'
import { isIPv4 } from 'node:net'
import { join } from 'node:path'

import { systemCodeOf } from '../errors.ts'
import { swarmIdOf } from '../membership/swarm-key.ts'
import type { SwarmKeys } from '../membership/swarm-keys.ts'
import { asRecord } from '../oci/descriptor.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'
import type { PeerAddress } from './discovery.ts'

const FILE_NAME = 'dht-nodes.json'
const MAX_NODES = 200
const MAX_FILE_BYTES = 64 * 1024

/** The nodes of the routing table, kept so that a node finds back without its contacts: `<state-dir>/dht-nodes.json` for the swarm's. */
export class SavedNodes {
  readonly #stateDir: string
  readonly #swarmKeys: SwarmKeys
  readonly #fileName: string

  /** @param options.swarmKeys nodes of another swarm are of no use */
  constructor({
    stateDir,
    swarmKeys,
    fileName = FILE_NAME,
  }: {
    stateDir: string
    swarmKeys: SwarmKeys
    fileName?: string
  }) {
    this.#stateDir = stateDir
    this.#swarmKeys = swarmKeys
    this.#fileName = fileName
  }

  /** What was saved; nothing if there is no such file, or not one of ours. */
  async load(): Promise<PeerAddress[]> {
    try {
      const text = await readFile(this.#path, 'utf8')
      if (text.length > MAX_FILE_BYTES) return []
      const content = asRecord(JSON.parse(text))
      if (!this.#isOurs(content?.['swarmId']) || !Array.isArray(content?.['nodes'])) return []
      return content['nodes'].slice(0, MAX_NODES).filter(isNodeAddress)
    } catch (error) {
      if (error instanceof SyntaxError || systemCodeOf(error) !== undefined) return []
      throw error
    }
  }

  /** Keeps the old file when there is nothing to save. @throws the system's error */
  async save(nodes: readonly PeerAddress[]): Promise<void> {
    const saved = nodes.slice(0, MAX_NODES).map(({ host, port }) => ({ host, port }))
    if (saved.length === 0) return
    await mkdir(this.#stateDir, { recursive: true })
    const content = { swarmId: swarmIdOf(this.#swarmKeys.current), nodes: saved }
    await writeFileAtomically(this.#path, `${JSON.stringify(content)}\n`, { mode: 0o600 })
  }

  /** The key may have changed since. */
  #isOurs(swarmId: unknown): boolean {
    return this.#swarmKeys.known.some((key) => swarmIdOf(key) === swarmId)
  }

  get #path(): string {
    return join(this.#stateDir, this.#fileName)
  }
}

function isNodeAddress(value: unknown): value is PeerAddress {
  const { host, port } = asRecord(value) ?? {}
  if (typeof host !== 'string' || !isIPv4(host)) return false
  return typeof port === 'number' && Number.isInteger(port) && port > 0 && port < 65536
}
