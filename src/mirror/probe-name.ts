/**
 * The images that nobody has: `mirror status` asks an engine for one, and the node that is in front of it sees the
 * question. Each has its own tag, which is all that tells one from another.
 */
import { randomBytes } from 'node:crypto'

/**
 * The registry of the probes. `.invalid` is never one (RFC 2606, section 2): should a question pass the node by,
 * nobody is asked.
 */
export const PROBE_REGISTRY = 'ddocker-probe.invalid'
/** The probe's name there. */
export const PROBE_REPOSITORY = 'probe'
/** The probe for what has a mirror for docker.io alone; strangers cannot make repositories in library/. */
export const DOCKER_IO_PROBE = 'library/ddocker-probe'

const TAG = /^ddocker-probe-[0-9a-f]{32}$/

/** A tag that was never asked for. */
export function newProbeTag(): string {
  return `ddocker-probe-${randomBytes(16).toString('hex')}`
}

/** Whether a tag is of a probe. */
export function isProbeTag(tag: string): boolean {
  return TAG.test(tag)
}
