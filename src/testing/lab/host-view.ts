/**
 * A host as its programs see it: names of registries that lead to the test, an authority that is
 * trusted like any other, and folders of /etc of its own. All of it is mounts in a namespace that
 * each program gets for itself; nothing changes on the machine.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './child.ts'
import { openLabDirectory } from './lab-directory.ts'
import type { NetworkHost } from './network.ts'

const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt'

// Nothing but lo and the lab can be reached from a host, so its names need no closed proxy.
const SCRIPT = `
VIEW=$0
mkdir -p /etc/containers
mount --bind "$VIEW/hosts" /etc/hosts
mount --bind "$VIEW/authorities.crt" ${AUTHORITIES}
mount --bind "$VIEW/containers" /etc/containers
[ -z "\${NO_PROXY:-}" ] || NO_PROXY=$NO_PROXY,$(cat "$VIEW/no-proxy")
exec "$@"
`

/** What a host shall know. */
export interface HostViewOptions {
  /** Addresses by DNS name. */
  names: Readonly<Record<string, string>>
  /** PEM; trusted by what runs on the host besides the machine's own authorities. */
  authority: string
}

/** A host with a view of its own. Disposing removes the files; nothing may run on it then. */
export interface HostView extends NetworkHost, AsyncDisposable {
  /** What its programs see as /etc/containers. */
  readonly containersDirectory: string
}

/** Gives a host its view: what is run by the new `prefix` sees it. Needs root. */
export async function openHostView(
  host: NetworkHost,
  { names, authority }: HostViewOptions,
): Promise<HostView> {
  const directory = await openLabDirectory('view')
  const at = (name: string): string => join(directory.path, name)
  const lines = Object.entries(names).map(([name, address]) => `${address} ${name}\n`)
  writeFileSync(at('hosts'), `127.0.0.1 localhost\n${lines.join('')}`)
  writeFileSync(at('authorities.crt'), `${readFileSync(AUTHORITIES, 'utf8')}\n${authority}\n`)
  writeFileSync(at('no-proxy'), Object.keys(names).join(','))
  mkdirSync(at('containers/registries.conf.d'), { recursive: true })
  writeFileSync(at('containers/policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}')
  const enter = ['unshare', '--mount', '--propagation', 'private']
  const prefix = [...host.prefix, ...enter, 'bash', '-euc', SCRIPT, directory.path]
  return {
    ...host,
    prefix,
    containersDirectory: at('containers'),
    run: async (command, args, options = {}) => await run(command, args, { ...options, prefix }),
    [Symbol.asyncDispose]: async () => await directory[Symbol.asyncDispose](),
  }
}
