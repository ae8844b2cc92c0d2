import { homedir, hostname } from 'node:os'

/** What defaults are made of: this host and this user. Tests give their own. */
export interface HostFacts {
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly hostName: string
  readonly homeDir: string
  readonly workingDir: string
  readonly isRoot: boolean
}

/** The facts of this process. */
export function readHostFacts(): HostFacts {
  return {
    environment: process.env,
    hostName: hostname(),
    homeDir: homedir(),
    workingDir: process.cwd(),
    isRoot: process.getuid?.() === 0,
  }
}
