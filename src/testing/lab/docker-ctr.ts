/** A current Docker with the containerd image store, from the chroot that .ci/install-lab made. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { startDockerEngine } from './docker-engine.ts'
import type { DockerEngine, DockerEngineOptions } from './docker-engine.ts'
import { chrootProgram, chrootScript } from './sid-chroot.ts'

// data-root is bound from the real disk: an overlay cannot be the upper layer of an overlay.
const SCRIPT = `
mkdir -p "$R/etc/docker"
mount --bind "$D/etc" "$R/etc/docker"
mkdir -p "$R/run/docker/plugins"
mount --bind "$D/plugins" "$R/run/docker/plugins"
exec tini -- chroot "$R" dockerd "$@"
`

/** Starts a Docker 28 of its own. Any number run side by side. Needs root. */
export async function startDockerCtr(options: DockerEngineOptions = {}): Promise<DockerEngine> {
  return await startDockerEngine(
    {
      kind: 'docker-ctr',
      daemonJson: {
        features: { 'containerd-snapshotter': true },
        bridge: 'none',
        iptables: false,
        ip6tables: false,
      },
      script: `R=$D/chroot UPPER=$D/upper WORK=$D/work\n${chrootScript()}${SCRIPT}`,
      client: chrootProgram('usr/bin/docker'),
      clientPlugins: {
        'docker-buildx': chrootProgram('usr/libexec/docker/cli-plugins/docker-buildx'),
      },
    },
    options,
  )
}

/** The digests of everything in the content store of an engine, which holds complete blobs only. */
export function contentOf(engine: DockerEngine): Set<string> {
  const store = 'containerd/daemon/io.containerd.content.v1.content/blobs/sha256'
  return new Set(readdirSync(join(engine.dataRoot, store)).map((hex) => `sha256:${hex}`))
}
