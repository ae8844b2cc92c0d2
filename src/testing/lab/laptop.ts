/**
 * A host as a laptop that somebody brings along: a home, a state directory and a socket of Docker where programs look
 * for them when they are told nothing, and a name server that cannot be reached. All of it is mounts in a namespace
 * that each program gets for itself; nothing changes on the machine.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child, mustRun, run } from './child.ts'
import type { CommandResult, RunOptions } from './child.ts'
import { openLabDirectory, sweepLabDirectories } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'

const PROGRAM = join(import.meta.dirname, '../../../bin/ddocker.js')

// The state directory of root is /var/lib/ddocker, the socket of Docker /var/run/docker.sock.
const SCRIPT = `
LAPTOP=$0
mount --bind "$LAPTOP/lib" /var/lib
mount --bind "$LAPTOP/resolv.conf" /etc/resolv.conf
mount --bind "$LAPTOP/hosts" /etc/hosts
mount -t tmpfs run /run
[ -z "\${LAB_DOCKER_SOCKET:-}" ] || ln -s "$LAB_DOCKER_SOCKET" /run/docker.sock
exec "$@"
`

/** A running `ddocker serve`. Disposing stops it. */
export interface LaptopNode extends AsyncDisposable {
  /** stderr so far */
  readonly log: string
}

/** A laptop. Disposing removes its files; what runs on it must have ended. */
export interface Laptop extends AsyncDisposable {
  readonly host: NetworkHost
  /** Runs `ddocker` with these words and nothing else; no variable of the environment speaks to it. */
  ddocker(args: readonly string[], options?: RunOptions): Promise<CommandResult>
  /** Runs it with `--json`. @throws Error when it fails */
  ddockerJson(args: readonly string[]): Promise<unknown>
  /** Starts `ddocker serve`, and waits until it can be used. */
  serve(args: readonly string[]): Promise<LaptopNode>
}

/**
 * @param options.dockerSocket of the engine that runs on it
 * @param options.names addresses by name, for there is nobody else to ask
 */
export async function openLaptop(
  host: NetworkHost,
  { dockerSocket, names = {} }: { dockerSocket?: string; names?: Record<string, string> } = {},
): Promise<Laptop> {
  await sweepLabDirectories()
  const directory = await openLabDirectory('laptop')
  for (const name of ['lib', 'home']) mkdirSync(join(directory.path, name))
  // RFC 5737: nobody has this address
  writeFileSync(join(directory.path, 'resolv.conf'), 'nameserver 192.0.2.53\n')
  const known = Object.entries(names).map(([name, address]) => `${address} ${name}\n`)
  writeFileSync(join(directory.path, 'hosts'), `127.0.0.1 localhost\n${known.join('')}`)
  const enter = ['unshare', '--mount', '--propagation', 'private']
  const prefix = [...host.prefix, ...enter, 'bash', '-euc', SCRIPT, directory.path]
  const env = {
    ...cleanEnvironment(),
    HOME: join(directory.path, 'home'),
    LAB_DOCKER_SOCKET: dockerSocket,
  }
  const line = (args: readonly string[]) => [PROGRAM, ...args]
  return {
    host,
    ddocker: async (args, options = {}) =>
      await run(process.execPath, line(args), { timeoutMs: 120_000, ...options, prefix, env }),
    ddockerJson: async (args) => {
      const options = { timeoutMs: 120_000, prefix, env }
      const { stdout } = await mustRun(process.execPath, line([...args, '--json']), options)
      return JSON.parse(stdout) as unknown
    },
    serve: async (args) => {
      const name = `node of ${host.address}`
      const child = new Child(process.execPath, line(['serve', ...args]), { name, prefix, env })
      try {
        await child.waitForLine(/^ready /, { from: 'stdout' })
      } catch (error) {
        await child[Symbol.asyncDispose]()
        throw error
      }
      return {
        get log() {
          return child.stderr
        },
        [Symbol.asyncDispose]: async () => await child[Symbol.asyncDispose](),
      }
    },
    [Symbol.asyncDispose]: async () => await directory[Symbol.asyncDispose](),
  }
}

/** Nothing of the person who runs the tests. */
function cleanEnvironment(): Record<string, undefined> {
  const names = Object.keys(process.env).filter((name) => /^(DDOCKER|DOCKER|XDG)_/.test(name))
  return Object.fromEntries([...names, 'NODE_EXTRA_CA_CERTS'].map((name) => [name, undefined]))
}
