/**
 * A current Docker with the containerd image store, from the chroot that .ci/install-lab made.
 * Each engine sees the chroot through an overlay of its own, so the chroot stays as installed; its
 * directory is visible inside under the same path as outside.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { startDockerEngine } from './docker-engine.ts'
import type { DockerEngine, DockerEngineOptions } from './docker-engine.ts'
import { labHome } from './lab-directory.ts'

// data-root is bound from the real disk: an overlay cannot be the upper layer of an overlay.
const SCRIPT = `
R=$D/chroot
mkdir -p "$R" "$D/upper" "$D/work"
mount -t overlay overlay -o "lowerdir=$SID,upperdir=$D/upper,workdir=$D/work" "$R"
mkdir -p "$R$D" "$R/etc/docker"
mount --bind "$D" "$R$D"
mount --bind "$D/etc" "$R/etc/docker"
for d in sys dev; do mount --rbind "/$d" "$R/$d"; done
mount -t proc proc "$R/proc"
mount -t tmpfs run "$R/run"
mount -t tmpfs tmp "$R/tmp"
mkdir -p "$R/run/docker/plugins"
mount --bind "$D/plugins" "$R/run/docker/plugins"
exec tini -- chroot "$R" dockerd "$@"
`

/** Starts a Docker 28 of its own. Any number run side by side. Needs root. */
export async function startDockerCtr(options: DockerEngineOptions = {}): Promise<DockerEngine> {
  const sid = join(labHome(), 'sid')
  return await startDockerEngine(
    {
      kind: 'docker-ctr',
      daemonJson: {
        features: { 'containerd-snapshotter': true },
        bridge: 'none',
        iptables: false,
        ip6tables: false,
      },
      script: `SID=${sid}\n${SCRIPT}`,
      client: chrootProgram(sid, 'docker'),
    },
    options,
  )
}

/** Runs a program of the chroot on the machine's own file tree, through the chroot's loader. */
function chrootProgram(sid: string, name: string): string[] {
  const libraries = readdirSync(join(sid, 'usr/lib')).find((entry) => entry.endsWith('-linux-gnu'))
  const folder = join(sid, 'usr/lib', libraries ?? '')
  const loader = readdirSync(folder).find((entry) => /^ld-linux-.*\.so\.\d$/.test(entry))
  if (loader === undefined) throw new Error(`no loader in ${folder}: remove ${sid}, install again`)
  return [join(folder, loader), '--library-path', folder, join(sid, 'usr/bin', name)]
}

/** The digests of everything in the content store of an engine, which holds complete blobs only. */
export function contentOf(engine: DockerEngine): Set<string> {
  const store = 'containerd/daemon/io.containerd.content.v1.content/blobs/sha256'
  return new Set(readdirSync(join(engine.dataRoot, store)).map((hex) => `sha256:${hex}`))
}
