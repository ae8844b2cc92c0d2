import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { linkToChild, type MessageLink } from '../support/message-link.ts'
import type { PeerSideReach } from './peer-side-folder.ts'

/** What carries out the work of a peer side. */
export interface PeerSideProcess {
  readonly link: MessageLink
  /** undefined where it is in this process */
  readonly pid: number | undefined
  /** Ends it, whatever it does. */
  stop(): Promise<void>
}

// One that does not end by itself when it has lost its node is ended.
const END_MS = 1000
const MAIN = fileURLToPath(new URL('./peer-side-main.ts', import.meta.url))
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Starts a process for a peer side. It is given nothing of the environment, and Node's permission model lets it read the
 * program and the blobs, write partial blobs and a folder of its own, and start no other process; it takes what it
 * has to know over its link, and ends with this process.
 */
export function launchPeerSide(reach: PeerSideReach): PeerSideProcess {
  const cache = cacheFolder()
  keepFolder(cache)
  const child = fork(MAIN, [], {
    execArgv: peerSideFlags(reach),
    env: { NODE_COMPILE_CACHE: cache },
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  return {
    link: linkToChild(child),
    pid: child.pid,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
      const ended = once(child, 'exit')
      const late = setTimeout(() => child.kill('SIGKILL'), END_MS)
      if (child.connected) child.disconnect()
      await ended
      clearTimeout(late)
    },
  }
}

/** Not that of the node: nobody else runs code from it. */
function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'ddocker-peer-side')
}

/** It may not make the folder itself; without it, every start takes twice as long and 25 MB more. */
function keepFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
  } catch {
    // a home that cannot be written costs only that
  }
}

/** What Node is to allow it (permission model). */
export function peerSideFlags(reach: PeerSideReach): string[] {
  const both = [...reach.write, cacheFolder()]
  const packages = packagesFolder()
  const read = [
    join(ROOT, 'src'),
    join(ROOT, 'package.json'),
    join(ROOT, 'node_modules'),
    packages,
    // what some packages are linked to
    join(dirname(packages), 'vendor'),
    ...reach.read,
    ...both,
  ]
  return [
    '--permission',
    ...read.map((path) => `--allow-fs-read=${path}`),
    ...both.map((path) => `--allow-fs-write=${path}`),
  ]
}

/** `node_modules`, wherever it is and whatever it is called by. */
function packagesFolder(): string {
  const found = createRequire(import.meta.url).resolve('webtorrent/package.json')
  return dirname(dirname(found))
}
