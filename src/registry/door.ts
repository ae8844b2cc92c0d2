import type { Log } from '../telemetry/log.ts'
import type { OwnHosts } from './own-hosts.ts'
import type { RegistryBackend } from './registry-backend.ts'

/** How long the door waits, in milliseconds. */
export interface DoorLimits {
  /** for a manifest or a list of tags; then 404, so that a mirror client goes on to its next host */
  readonly manifestMs: number
  /** until it is known whether a blob can be had; then 404. Docker 29.7 waits 30 s for the first header */
  readonly blobMs: number
  /**
   * after which the headers of a blob that can be had go out without its first byte. Until then a failure is
   * still a 404, which sends a client to its next host at once
   */
  readonly firstByteMs: number
  /** without a byte from behind, then the connection is closed. CRI gives a silent pull up after 5 min */
  readonly stallMs: number
}

export const DEFAULT_DOOR_LIMITS: DoorLimits = {
  manifestMs: 3000,
  blobMs: 25_000,
  firstByteMs: 15_000,
  stallMs: 90_000,
}

/** What every route of the door works with. */
export interface Door {
  readonly backend: RegistryBackend
  readonly ownHosts: OwnHosts
  readonly limits: DoorLimits
  readonly log: Log
}
