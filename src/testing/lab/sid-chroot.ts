/**
 * The chroot with current programs that .ci/install-lab made. Whoever uses it sees it through an
 * overlay of its own, so it stays as installed.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { labHome } from './lab-directory.ts'

/** Where the chroot is. */
export function sidHome(): string {
  return join(labHome(), 'sid')
}

/**
 * Bash that makes the chroot ready at $R, in a mount namespace of the caller's own. The directory $D
 * is inside under the same path as outside, and so are names and authorities that the host knows.
 * What the caller writes elsewhere goes to $UPPER and $WORK, on a file system that is no overlay.
 */
export function chrootScript(): string {
  return `
SID=${sidHome()}
mkdir -p "$R" "$UPPER" "$WORK"
mount -t overlay overlay -o "lowerdir=$SID,upperdir=$UPPER,workdir=$WORK" "$R"
mkdir -p "$R$D"
mount --bind "$D" "$R$D"
for f in /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
  [ ! -e "$f" ] || { touch "$R$f"; mount --bind "$f" "$R$f"; }
done
for d in sys dev; do mount --rbind "/$d" "$R/$d"; done
mount -t proc proc "$R/proc"
mount -t tmpfs run "$R/run"
mount -t tmpfs tmp "$R/tmp"
`
}

/**
 * Runs a program of the chroot on the machine's own file tree, through the chroot's loader.
 * @param path such as `usr/bin/ctr`
 */
export function chrootProgram(path: string): string[] {
  const sid = sidHome()
  const libraries = readdirSync(join(sid, 'usr/lib')).find((entry) => entry.endsWith('-linux-gnu'))
  const folder = join(sid, 'usr/lib', libraries ?? '')
  const loader = readdirSync(folder).find((entry) => /^ld-linux-.*\.so\.\d$/.test(entry))
  if (loader === undefined) throw new Error(`no loader in ${folder}: remove ${sid}, install again`)
  return [join(folder, loader), '--library-path', folder, join(sid, path)]
}
