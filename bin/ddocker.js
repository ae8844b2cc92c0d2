#!/usr/bin/env node
// Finds a Node that runs TypeScript as it is, and hands everything over to src/cli.ts.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { keepCompiledCode } from './code-cache.js'

const SELF = fileURLToPath(import.meta.url)
const OLDEST = { major: 24, minor: 12 }

if (isRecent(process.versions.node)) {
  keepCompiledCode()
  await import(new URL('../src/cli.ts', import.meta.url).href)
} else {
  const node = installedNode()
  if (node === undefined) {
    process.stderr.write(
      `error: ddocker: wanted Node ${OLDEST.major}.${OLDEST.minor} or later, found ${process.versions.node}\n` +
        '  hint: Run `npm ci` in the folder of ddocker, which brings one along, or install Node 24.\n',
    )
    process.exitCode = 1
  } else {
    handOver(node)
  }
}

/** @param {string} version */
function isRecent(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > OLDEST.major || (major === OLDEST.major && minor >= OLDEST.minor)
}

/** The binary of the npm package `node`, if it is installed here. */
function installedNode() {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('node/package.json')), 'bin/node')
  } catch {
    return undefined
  }
}

/** @param {string} node */
function handOver(node) {
  const child = spawn(node, [SELF, ...process.argv.slice(2)], { stdio: 'inherit' })
  // the child decides what a signal means; one that came from the terminal it has already, and knows
  for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(name, () => child.kill(name))
  }
  child.on('error', (error) => {
    process.stderr.write(`error: ddocker: ${node}: ${error.message}\n`)
    process.exitCode = 1
  })
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (signal ? constants.signals[signal] : 0)
  })
}
