import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { Child } from '../../src/testing/lab/child.ts'
import { folderOf } from '../bench-image.ts'
import type { Arena, Contender, Contestant, Leecher, Lineup } from './contender.ts'

/** What a program of this folder is told as its one argument, JSON. */
export interface LineProcessOptions {
  readonly role: 'seed' | 'leecher'
  /** path of the .torrent */
  readonly torrent: string
  /** where the blob is or will be, under the name that the torrent gives it */
  readonly directory: string
  readonly name: string
  readonly host: string
  readonly port: number
}

const FETCH_MS = 600_000
const FIRST_PORT = 17_000

/**
 * A contender whose processes are driven by lines. stdout: `ready`; after `fetch ["host:port",…]` on stdin, `done`;
 * after `report`, `report <bytes sent>`.
 */
export function lineContender(options: {
  name: string
  settings: Readonly<Record<string, unknown>>
  /** program and first arguments */
  command: readonly string[]
}): Contender {
  const { name, settings, command } = options
  return { name, settings, open: (arena) => openLineup(arena, name, command) }
}

async function openLineup(arena: Arena, name: string, command: readonly string[]): Promise<Lineup> {
  await using opening = new AsyncDisposableStack()
  const places = Array.from({ length: arena.leechers + 1 }, (_, index) => placeOf(arena, index))
  const processes: LineProcess[] = []
  for (const [index, place] of places.entries()) {
    const directory =
      index === 0 ? folderOf(arena.image) : join(arena.directory, `${name}-${index}`)
    await mkdir(directory, { recursive: true })
    const options: LineProcessOptions = {
      role: index === 0 ? 'seed' : 'leecher',
      torrent: arena.image.torrentPath,
      name: arena.image.torrent.digest.slice('sha256:'.length),
      directory,
      ...place,
    }
    const prefix = arena.hosts?.[index]?.prefix ?? []
    const peers = places.filter((_, other) => other !== index)
    processes.push(opening.use(new LineProcess(command, { options, prefix, peers })))
  }
  await Promise.all(processes.map((process) => process.isReady()))
  const [seed, ...leechers] = processes
  if (!seed) throw new TypeError('a line-up without a seed')
  const opened = opening.move()
  return { seed, leechers, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

interface Place {
  readonly host: string
  readonly port: number
}

/** One port for all in hosts of their own, a port each on loopback. */
function placeOf({ hosts }: Arena, index: number): Place {
  const host = hosts?.[index]
  if (host) return { host: host.address, port: FIRST_PORT }
  return { host: '127.0.0.1', port: FIRST_PORT + (process.pid % 1000) * 16 + index }
}

class LineProcess implements Contestant, Leecher, AsyncDisposable {
  readonly #child: Child
  readonly #peers: readonly Place[]
  #reports = 0

  constructor(
    [program = '', ...args]: readonly string[],
    given: { options: LineProcessOptions; prefix: readonly string[]; peers: readonly Place[] },
  ) {
    const { options, prefix, peers } = given
    this.#peers = peers
    this.#child = new Child(program, [...args, JSON.stringify(options)], { prefix })
  }

  get pid(): number {
    return this.#child.pid
  }

  async isReady(): Promise<void> {
    await this.#child.waitForLine(/^ready$/)
  }

  async fetch(): Promise<void> {
    const addresses = this.#peers.map(({ host, port }) => `${host}:${port}`)
    this.#child.stdin.write(`fetch ${JSON.stringify(addresses)}\n`)
    await this.#child.waitForLine(/^done$/, { timeoutMs: FETCH_MS })
  }

  async sentBytes(): Promise<number> {
    this.#reports += 1
    const wanted = this.#reports
    this.#child.stdin.write('report\n')
    const found = () => [...this.#child.stdout.matchAll(/^report (\d+)$/gm)][wanted - 1]
    return Number((await this.#child.waitFor(found, { what: 'a report' }))[1])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.kill()
  }
}
