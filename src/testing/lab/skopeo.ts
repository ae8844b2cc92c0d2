/** Skopeo: a second opinion on what a registry serves, and a way to copy images without an engine. */
import { mustSucceed, run } from './child.ts'
import type { CommandResult, RunOptions } from './child.ts'
import { LAB_ENVIRONMENT } from './debian-programs.ts'

/** Runs skopeo with plain HTTP allowed; a failing command is a result. Default limit 120 s. */
export async function skopeo(
  args: readonly string[],
  options: RunOptions = {},
): Promise<CommandResult> {
  return await run('skopeo', ['--insecure-policy', ...args], {
    timeoutMs: 120_000,
    ...options,
    env: { ...LAB_ENVIRONMENT, ...options.env },
  })
}

/**
 * Copies an image, such as `docker://127.0.0.1:5151/local/x:tag` to `oci:/tmp/x:tag`; to and from
 * registries over plain HTTP.
 * @throws Error when skopeo fails
 */
export async function skopeoCopy(
  source: string,
  target: string,
  options: RunOptions = {},
): Promise<void> {
  const plainHttp = ['--src-tls-verify=false', '--dest-tls-verify=false']
  const result = await skopeo(['copy', '--quiet', ...plainHttp, source, target], options)
  mustSucceed(result, `skopeo copy ${source} ${target}`)
}

/** The raw manifest that a registry serves, byte for byte. @throws Error when skopeo fails */
export async function skopeoManifest(reference: string, options: RunOptions = {}): Promise<string> {
  const args = ['inspect', '--raw', '--tls-verify=false', `docker://${reference}`]
  return mustSucceed(await skopeo(args, options), `skopeo inspect ${reference}`).stdout
}
