/**
 * Images for tests, built by a real engine without any registry.
 *
 * - quick: from scratch with a static busybox, about 2 MB, two layers; runs.
 * - standard: a real Debian and layers with all that a layer can hold: hard links, setuid, file
 *   capabilities, a FIFO, a step that changes nothing, a removed file, a folder made anew (opaque
 *   whiteout), incompressible bytes. Six layers, 150 MB and more, compressed too.
 *
 * Neither store keeps user.* xattrs on commit, and both note `RUN true` as `empty_layer`.
 */
import { createHash, randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DockerEngine } from './docker-engine.ts'
import { labHome, openLabDirectory } from './lab-directory.ts'

const BUILD_MS = 300_000
const MIB = 1024 * 1024
const DEBIAN = 'ddocker-lab/debian:bookworm'

/** What an image of the lab is made of. */
export interface LabImageOptions {
  /** The name it gets. */
  reference: string
  /** Written to /message, so that two images can differ; the reference by default. */
  message?: string
}

/** A standard image in addition holds bytes that do not compress. */
export interface StandardImageOptions extends LabImageOptions {
  /** In two layers; default 112, which makes more than 150 MB even when compressed. */
  incompressibleMib?: number
}

/** Builds the quick image. @returns the image ID that the engine gives it */
export async function buildQuickImage(
  engine: DockerEngine,
  { reference, message = reference }: LabImageOptions,
): Promise<string> {
  await using context = await openLabDirectory('context')
  copyFileSync('/bin/busybox', join(context.path, 'busybox'))
  writeFileSync(join(context.path, 'message'), message)
  const dockerfile = `
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY message /message
CMD ["cat", "/message"]
`
  return await build(engine, { context: context.path, dockerfile, reference })
}

/** Builds the standard image. @returns the image ID that the engine gives it */
export async function buildStandardImage(
  engine: DockerEngine,
  { reference, message = reference, incompressibleMib = 112 }: StandardImageOptions,
): Promise<string> {
  await importDebian(engine)
  await using context = await openLabDirectory('context')
  const half = Math.ceil(incompressibleMib / 2)
  for (const name of ['one', 'two']) {
    mkdirSync(join(context.path, name))
    // Not the same in two builds, or a cache would make the second one free.
    writeFileSync(join(context.path, name, 'random'), randomBytes(half * MIB))
  }
  writeFileSync(join(context.path, 'message'), message)
  const dockerfile = `
FROM ${DEBIAN}
COPY one /opt/one
RUN mkdir /opt/links && cd /opt/links && cp /bin/ls program && ln program hard-link \\
 && ln -s program symbolic-link && cp /bin/su setuid && chmod 4755 setuid \\
 && cp /bin/cat capable && setcap cap_net_bind_service+ep capable \\
 && cp /bin/true marked && setfattr -n user.ddocker -v lab marked \\
 && mkfifo fifo && printf x > 'name with space é'
RUN true
RUN rm /etc/debian_version && rm -r /opt/one && mkdir -m 1777 /opt/one
COPY two /opt/two
COPY message /message
LABEL lab=standard
CMD ["cat", "/message"]
`
  return await build(engine, { context: context.path, dockerfile, reference })
}

/** Builds the quick image with one more layer of bytes that do not compress. @returns its image ID */
export async function buildLargeImage(
  engine: DockerEngine,
  { reference, message = reference, incompressibleMib = 64 }: StandardImageOptions,
): Promise<string> {
  await buildQuickImage(engine, { reference, message })
  await using context = await openLabDirectory('context')
  writeFileSync(join(context.path, 'random'), randomBytes(incompressibleMib * MIB))
  const dockerfile = `FROM ${reference}\nCOPY random /random\n`
  return await build(engine, { context: context.path, dockerfile, reference })
}

/** Builds an image that has all layers of another and one more. @returns its image ID */
export async function buildOnTop(
  engine: DockerEngine,
  { base, reference, message = reference }: LabImageOptions & { base: string },
): Promise<string> {
  await using context = await openLabDirectory('context')
  writeFileSync(join(context.path, 'message'), message)
  const dockerfile = `FROM ${base}\nCOPY message /message\n`
  return await build(engine, { context: context.path, dockerfile, reference })
}

/** Imports the Debian tree of the lab, unless the engine has it. @returns its reference */
export async function importDebian(engine: DockerEngine): Promise<string> {
  const found = await engine.docker(['image', 'inspect', DEBIAN])
  if (found.code !== 0) {
    const tree = join(labHome(), 'debian.tar')
    const change = ['--change', 'ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin']
    await engine.dockerOk(['import', ...change, tree, DEBIAN], { timeoutMs: BUILD_MS })
  }
  return DEBIAN
}

/** Runs a container of an image without a network. @returns its trimmed stdout */
export async function runImage(
  engine: DockerEngine,
  reference: string,
  command: readonly string[] = [],
): Promise<string> {
  return await engine.dockerOk(['run', '--rm', '--network', 'none', reference, ...command])
}

/**
 * A digest of all that the file system of an image holds: two engines whose images have the same
 * fingerprint run the same files. Works for images with a shell, find, stat and sha256sum.
 */
export async function fingerprintImage(engine: DockerEngine, reference: string): Promise<string> {
  const skipped = ['/proc', '/sys', '/dev', '/etc/hosts', '/etc/hostname', '/etc/resolv.conf']
  const prune = skipped.map((path) => `-path ${path}`).join(' -o ')
  const find = `find / \\( ${prune} \\) -prune -o`
  const script = [
    `${find} -exec stat -c '%n %f %u %g %h %N' {} + > /all`,
    `${find} -type f ! -path /all -exec sha256sum {} + >> /all`,
    'if command -v getcap > /dev/null; then getcap -r /bin /usr /opt >> /all; fi',
    // The number of links of a folder and our own file depend on the store, not on the image.
    "sed -E -e 's/( 4[0-9a-f]{3} [0-9]+ [0-9]+) [0-9]+ /\\1 - /' -e '/^\\/all /d' /all | sort",
  ].join(' && ')
  const listing = await runImage(engine, reference, ['sh', '-c', script])
  return createHash('sha256').update(listing).digest('hex')
}

/** Bytes of the Debian tree, a lower bound for the size of the standard image. */
export function debianTreeBytes(): number {
  return statSync(join(labHome(), 'debian.tar')).size
}

async function build(
  engine: DockerEngine,
  { context, dockerfile, reference }: { context: string; dockerfile: string; reference: string },
): Promise<string> {
  writeFileSync(join(context, 'Dockerfile'), dockerfile.trimStart())
  const args = ['build', '--quiet', '--network', 'none', '--tag', reference, context]
  await engine.dockerOk(args, { timeoutMs: BUILD_MS })
  return await engine.dockerOk(['image', 'inspect', '--format', '{{.Id}}', reference])
}
