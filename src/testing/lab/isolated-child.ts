/**
 * A process tree in PID and mount namespaces of its own. When its first process ends, the kernel
 * ends all others and drops every mount: an engine leaves nothing on the machine but its folder,
 * however the test ends. Needs root.
 */
import { Child } from './child.ts'
import { LAB_ENVIRONMENT } from './debian-programs.ts'

const NAMESPACES = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc']

/** What runs in the namespaces. */
export interface IsolatedChildOptions {
  name: string
  /** Bash with -eu; mounts what it likes and ends with `exec tini -- program "$@"`. */
  script: string
  args?: readonly string[]
  env: Record<string, string>
  /** `host.prefix` of a network host. */
  prefix?: readonly string[]
}

/** Starts a script as the first process of new namespaces; signals reach the program by tini. */
export function startIsolatedChild(options: IsolatedChildOptions): Child {
  const { name, script, args = [], env, prefix = [] } = options
  return new Child(
    'unshare',
    [...NAMESPACES, '--propagation', 'private', 'bash', '-euc', script, name, ...args],
    { name, prefix, env: { ...LAB_ENVIRONMENT, ...env } },
  )
}
