/**
 * What a deep test needs of its machine. On a laptop such a test is skipped and says why; in CI
 * (the variable CI is set) it fails, so that CI never skips anything.
 */
import { existsSync, readdirSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { join } from 'node:path'
import { hasPrograms } from './debian-programs.ts'
import { labHome } from './lab-directory.ts'

const INSTALL_HINT = 'run `.ci/install-lab` as root on Debian 12'

const CHECKS = {
  linux: () => process.platform === 'linux',
  root: () => process.getuid?.() === 0,
  network: () => hasPrograms('ip', 'tc', 'nsenter'),
  iptables: () => hasPrograms('iptables'),
  'docker-gd': () => hasPrograms('dockerd', 'docker', 'tini', 'unshare', 'nsenter'),
  'docker-ctr': () => existsSync(join(labHome(), 'sid/usr/sbin/dockerd')) && hasPrograms('tini'),
  'debian-tree': () => existsSync(join(labHome(), 'debian.tar')),
  busybox: () => existsSync('/bin/busybox'),
  containerd: () => hasPrograms('containerd', 'ctr', 'tini'),
  podman: () => hasPrograms('podman'),
  buildah: () => hasPrograms('buildah'),
  // containerd and Podman of the chroot.
  current: () => existsSync(join(labHome(), 'sid/usr/bin/podman')) && hasPrograms('tini'),
  skopeo: () => hasPrograms('skopeo'),
  'docker-registry': () => hasPrograms('docker-registry'),
  aria2: () => hasPrograms('aria2c'),
  transmission: () => hasPrograms('transmission-daemon', 'transmission-remote'),
  libtorrent: () => hasPrograms('python3') && pythonHas('libtorrent'),
  strace: () => hasPrograms('strace'),
  tcpdump: () => hasPrograms('tcpdump'),
} as const satisfies Record<string, () => boolean>

/** Something a machine may lack. */
export type LabRequirement = keyof typeof CHECKS

/** The names of those that this machine lacks. */
export function missingRequirements(requirements: readonly LabRequirement[]): LabRequirement[] {
  return requirements.filter((requirement) => !CHECKS[requirement]())
}

/**
 * Says whether the test can run here: `if (!requireLab(t, ['root', 'docker-gd'])) return`.
 * @returns false after it has marked the test as skipped
 * @throws Error in CI, where nothing may be skipped
 */
export function requireLab(t: TestContext, requirements: readonly LabRequirement[]): boolean {
  const missing = missingRequirements(requirements)
  if (missing.length === 0) return true
  const reason = `this machine lacks ${missing.join(', ')}: ${INSTALL_HINT}`
  if (process.env['CI']) throw new Error(reason)
  t.skip(reason)
  return false
}

function pythonHas(module: string): boolean {
  const packages = '/usr/lib/python3/dist-packages'
  return existsSync(packages) && readdirSync(packages).some((name) => name.startsWith(module))
}
