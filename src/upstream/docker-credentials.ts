import { stat } from 'node:fs/promises'

import { isOperationError, type OperationError } from '../errors.ts'
import { abortable } from '../support/deadline.ts'
import { SingleFlight } from '../support/single-flight.ts'
import type { Log } from '../telemetry/log.ts'
import { askCredentialHelper } from './credential-helper.ts'
import type { Credential } from './credential.ts'
import { findInline, NO_LOGINS, readDockerConfig, type DockerConfig } from './docker-config.ts'
import { ExpiringMap } from './expiring-map.ts'

interface DockerCredentialsOptions {
  /** undefined: no logins */
  readonly file: string | undefined
  readonly log: Log
  readonly nowMs: () => number
  /** ends what is under way when the owner closes */
  readonly closing: AbortSignal
}

type HelperAnswer = { readonly credential: Credential | undefined }

const HELPER_ANSWER_MS = 5 * 60_000
const HELPER_NOTHING_MS = 30_000
const MAX_HELPER_ANSWERS = 256
// docker login stores Docker Hub under this name
const DOCKER_HUB_KEY = 'https://index.docker.io/v1/'

/**
 * This node's logins: config.json, read again when it changes, and the helpers it names. A broken file or helper is
 * logged once and means no login: a pull of what is public goes on without.
 */
export class DockerCredentials {
  readonly #options: DockerCredentialsOptions
  readonly #helperAnswers: ExpiringMap<HelperAnswer>
  readonly #helperFlights = new SingleFlight<Credential | undefined>()
  readonly #complaints = new Set<string>()
  #config: DockerConfig = NO_LOGINS
  #version = 'unread'

  constructor(options: DockerCredentialsOptions) {
    this.#options = options
    this.#helperAnswers = new ExpiringMap({ maxEntries: MAX_HELPER_ANSWERS, nowMs: options.nowMs })
  }

  /** credHelpers over credsStore over auths, as Docker has it. */
  async find(
    registry: string,
    repository: string,
    signal: AbortSignal,
  ): Promise<Credential | undefined> {
    await this.#refresh()
    const config = this.#config
    const helper = config.helpersByHost.get(registry) ?? config.helper
    const stored = helper === undefined ? undefined : await this.#ask(helper, registry, signal)
    return stored ?? findInline(config, registry, repository)
  }

  /** Whether there may be one for a repository of the registry; no helper is asked. */
  async mayHave(registry: string): Promise<boolean> {
    await this.#refresh()
    const { credentials, helper, helpersByHost } = this.#config
    if (helper !== undefined || helpersByHost.has(registry)) return true
    return [...credentials.keys()].some((key) => key.split('/', 1)[0] === registry)
  }

  async #refresh(): Promise<void> {
    const { file } = this.#options
    if (file === undefined) return
    const found = await stat(file).catch(() => undefined)
    const version = found ? `${found.ino} ${found.size} ${found.mtimeMs}` : 'missing'
    if (version === this.#version) return
    try {
      this.#config = (await readDockerConfig(file)) ?? NO_LOGINS
      this.#complaints.clear()
    } catch (thrown) {
      if (!isOperationError(thrown, 'CREDENTIALS_INVALID')) throw thrown
      this.#config = NO_LOGINS
      this.#complain(thrown)
    }
    this.#version = version
    this.#helperAnswers.clear()
  }

  async #ask(
    helper: string,
    registry: string,
    signal: AbortSignal,
  ): Promise<Credential | undefined> {
    const key = `${helper} ${registry}`
    const known = this.#helperAnswers.get(key)
    if (known) return known.credential
    return await abortable(
      this.#helperFlights.run(key, () => this.#askAndKeep(helper, registry)),
      signal,
    )
  }

  async #askAndKeep(helper: string, registry: string): Promise<Credential | undefined> {
    const server = registry === 'docker.io' ? DOCKER_HUB_KEY : registry
    let credential: Credential | undefined
    try {
      credential = await askCredentialHelper(helper, server, { signal: this.#options.closing })
    } catch (thrown) {
      if (!isOperationError(thrown, 'CREDENTIALS_INVALID')) throw thrown
      this.#complain(thrown)
    }
    const lifetimeMs = credential ? HELPER_ANSWER_MS : HELPER_NOTHING_MS
    this.#helperAnswers.set(`${helper} ${registry}`, { credential }, lifetimeMs)
    return credential
  }

  #complain({ code, message }: OperationError): void {
    if (this.#complaints.has(message)) return
    this.#complaints.add(message)
    this.#options.log.warn({ code, message }, 'credentials cannot be used')
  }
}
