/** What an image runs on (image-spec, image-index.md, platform). */
export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  arm64: 'arm64',
  arm: 'arm',
}

/** The platform whose images run on this host (engines on Windows and macOS run Linux images). */
export function hostPlatform(arch: string = process.arch): Platform {
  return { os: 'linux', architecture: ARCHITECTURES[arch] ?? arch }
}

/** Whether an image for `offered` runs on `wanted`; no variant in one of them means any. */
export function platformMatches(offered: Platform | undefined, wanted: Platform): boolean {
  if (!offered) return true
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return false
  return !offered.variant || !wanted.variant || offered.variant === wanted.variant
}
