/** The classic Docker: Debian 12's dockerd 20.10 with the graphdriver store (overlay2). */
import { startDockerEngine } from './docker-engine.ts'
import type { DockerEngine, DockerEngineOptions } from './docker-engine.ts'

// Fresh tmpfs on /run: sockets of shims and plugins of one engine are not those of another.
const SCRIPT = `
mkdir -p /etc/docker
mount --bind "$D/etc" /etc/docker
mount -t tmpfs run /run
mkdir -p /run/docker/plugins
mount --bind "$D/plugins" /run/docker/plugins
exec tini -- dockerd "$@"
`

/** Starts a dockerd 20.10 of its own. Any number run side by side. Needs root. */
export async function startDockerGd(options: DockerEngineOptions = {}): Promise<DockerEngine> {
  return await startDockerEngine(
    {
      kind: 'docker-gd',
      daemonJson: {
        'storage-driver': 'overlay2',
        bridge: 'none',
        iptables: false,
        ip6tables: false,
        'ip-masq': false,
      },
      script: SCRIPT,
      client: ['docker'],
    },
    options,
  )
}
