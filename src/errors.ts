/**
 * Failures a person can act on. A code is API: it never changes its meaning; the message is prose and may.
 * Every code has its hint and its exit code in one table, so that help is written once.
 */
interface CodeEntry {
  /** what the reader can do, an imperative sentence */
  readonly hint: string
  readonly exitCode: 1 | 2 | 3 | 130
  /** worth another try without anybody doing anything */
  readonly retryable?: true
}

const CODES = {
  USAGE: { hint: 'Run the command with --help to see what it takes.', exitCode: 2 },
  REFERENCE_INVALID: {
    hint: 'Write the image as name:tag, registry/name:tag, local/name:tag or name@sha256:<64 hex digits>.',
    exitCode: 2,
  },
  DIGEST_INVALID: {
    hint: 'Write the digest as sha256: and 64 lower-case hex digits.',
    exitCode: 2,
  },
  CONFIG_INVALID: {
    hint: 'Mend the option named above; `ddocker serve --help` lists all.',
    exitCode: 2,
  },
  INVITE_INVALID: {
    hint: 'Copy the whole line that `ddocker swarm invite` printed, or ask for a new one, and join again.',
    exitCode: 2,
  },
  SWARM_KEY_INVALID: {
    hint: 'Put 64 hex digits into the key file, or remove it to have a new key made.',
    exitCode: 1,
  },
  SWARM_KEY_OUTDATED: {
    hint: 'Leave the node running: it gets the new key from members that knew it, or join it again with a new invite.',
    exitCode: 1,
    retryable: true,
  },
  NODE_UNKNOWN: {
    hint: 'See `ddocker swarm members`, and give a name or id that only one of them has, or a whole id.',
    exitCode: 1,
  },
  IMAGE_UNKNOWN: {
    hint: 'Check the name with `ddocker ls` on the node that holds it, and that it is shared (`ddocker seed`).',
    exitCode: 1,
  },
  BLOB_UNKNOWN: { hint: 'Seed the image on a node that holds it, then try again.', exitCode: 1 },
  MANIFEST_INVALID: {
    hint: 'The manifest is not one of the OCI or Docker kinds that ddocker knows; make the image again.',
    exitCode: 1,
  },
  BLOB_DIGEST_MISMATCH: {
    hint: 'The bytes were thrown away; try again, and remove the source that sent them if it happens again.',
    exitCode: 1,
  },
  BLOB_SIZE_MISMATCH: {
    hint: 'The bytes were thrown away; make the image again where it came from.',
    exitCode: 1,
  },
  ARCHIVE_INVALID: {
    hint: 'Give a `docker save` tar or an OCI image layout (file or folder); make it again if it was cut off.',
    exitCode: 1,
  },
  ARCHIVE_INCOMPLETE: {
    hint: 'Make the archive again with all its blobs; nothing of it was kept under a name.',
    exitCode: 1,
  },
  UPLOAD_UNKNOWN: { hint: 'Push again: an upload ends when it is left alone.', exitCode: 1 },
  UPLOADS_EXHAUSTED: {
    hint: 'Wait until other pushes are done, then push again.',
    exitCode: 1,
    retryable: true,
  },
  TRANSFER_STALLED: {
    hint: 'The pieces fetched so far are kept; try again when a node that holds the rest is back.',
    exitCode: 1,
    retryable: true,
  },
  DISK_FULL: { hint: 'Free space where the data directory lies, then try again.', exitCode: 1 },
  DISK_READ_ONLY: {
    hint: 'Mount the data directory writable, or give another with --data-dir.',
    exitCode: 1,
  },
  DISK_FAULTY: {
    hint: 'The disk under the data directory reports errors: read the kernel log, and move the data directory.',
    exitCode: 1,
  },
  OPEN_FILES_EXHAUSTED: {
    hint: 'Raise the limit of open files (`ulimit -n`, or LimitNOFILE= of the unit), then try again.',
    exitCode: 1,
    retryable: true,
  },
  DATA_DIR_UNUSABLE: {
    hint: 'Give a directory that this user may write, with --data-dir.',
    exitCode: 1,
  },
  DATA_DIR_IN_USE: {
    hint: 'Stop the other node, or give this one its own directory with --data-dir.',
    exitCode: 1,
  },
  CATALOG_UNUSABLE: {
    hint: 'Stop the node and remove the catalog directory; it is made anew from the blobs.',
    exitCode: 1,
  },
  PORT_IN_USE: {
    hint: 'Stop what uses the port, or choose another with --registry, --peer-port or --public-port (0 picks).',
    exitCode: 1,
  },
  ADDRESS_UNUSABLE: { hint: 'Give an address of this host, or leave the option out.', exitCode: 1 },
  NODE_NOT_RUNNING: {
    hint: 'Start it with `ddocker serve`, with the same --data-dir.',
    exitCode: 1,
  },
  NODE_UNREACHABLE: {
    hint: 'Check that the node answers, then try again.',
    exitCode: 1,
    retryable: true,
  },
  PEER_SIDE_LOST: {
    hint: 'Nothing to do: it is started again. If that happens often, read the log of the node, and report it.',
    exitCode: 1,
    retryable: true,
  },
  NODE_PERMISSION: {
    hint: 'Run the command as the user that runs the node, or name your own with --data-dir.',
    exitCode: 1,
  },
  NODE_FAILED: {
    hint: 'This is a mistake in ddocker: read the log of the node, and report it.',
    exitCode: 1,
  },
  OPERATION_UNKNOWN: {
    hint: 'The node runs another version of ddocker: restart it with this one.',
    exitCode: 1,
  },
  ENGINE_UNAVAILABLE: {
    hint: 'Start the engine, or point --docker-host at its socket (`none` works without an engine).',
    exitCode: 1,
    retryable: true,
  },
  ENGINE_PERMISSION: {
    hint: 'Run as root or as a member of the group that owns the engine socket.',
    exitCode: 1,
  },
  ENGINE_FAILED: { hint: "Read the engine's own log for the cause, then try again.", exitCode: 1 },
  UPSTREAM_UNREACHABLE: {
    hint: 'Check the registry and the way to it; what peers hold is served meanwhile.',
    exitCode: 1,
    retryable: true,
  },
  UPSTREAM_DENIED: {
    hint: 'Log in to the registry as the user that runs the node (`docker login`), or name the file with --docker-config.',
    exitCode: 1,
  },
  UPSTREAM_FAULTY: {
    hint: 'The bytes were thrown away; tell whoever runs the registry, or the proxy in front of it.',
    exitCode: 1,
  },
  UPSTREAM_ADDRESS_REFUSED: {
    hint: 'If the registry is meant to be at this address, name it with --local-upstream or --insecure-upstream.',
    exitCode: 1,
  },
  CREDENTIALS_INVALID: {
    hint: 'Mend the Docker configuration file or the credential helper named above, or log in again.',
    exitCode: 1,
  },
  PUBLICATION_REFUSED: {
    hint: 'If it is yours to share with everybody, for ever, say so with --own; else leave it in your own swarm.',
    exitCode: 1,
  },
  PUBLICATION_UNPROVEN: {
    hint: 'Try again when the registry answers; or say with --own that the image is yours to share with everybody.',
    exitCode: 1,
    retryable: true,
  },
  NOT_PUBLISHED: {
    hint: 'See with `ddocker ls` what this node publishes.',
    exitCode: 1,
  },
  REQUEST_UNPROVEN: {
    hint: 'Check that both nodes have the same swarm key and that their clocks agree within a minute.',
    exitCode: 1,
  },
  RECORD_INVALID: { hint: 'Nothing to do: the record was refused.', exitCode: 1 },
  MESSAGE_INVALID: { hint: 'Nothing to do: the message was refused.', exitCode: 1 },
  MIRROR_FILE_INVALID: {
    hint: 'Mend the file named above, or name the other engines (--docker, --containerd, --podman, --buildkit); nothing was changed.',
    exitCode: 1,
  },
  MIRROR_FILE_UNWRITABLE: {
    hint: 'Run the command as root, or as the user whose engine it is; nothing was changed.',
    exitCode: 1,
  },
  MIRROR_STATE_INVALID: {
    hint: 'Restore the record from a backup, or remove it and take the mirror out of the files by hand.',
    exitCode: 1,
  },
  INTERRUPTED: { hint: 'Run the command again to go on.', exitCode: 130 },
} as const satisfies Record<string, CodeEntry>

export type ErrorCode = keyof typeof CODES
export const ERROR_CODES = Object.keys(CODES) as readonly ErrorCode[]

interface OperationErrorOptions {
  /** what was wanted and what was found, for programs */
  details?: Readonly<Record<string, unknown>>
  cause?: unknown
}

/** A failure someone can act on: stable `code`, message with values, and a hint. */
export class OperationError extends Error {
  override readonly name = 'OperationError'
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: OperationErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }

  get hint(): string {
    return CODES[this.code].hint
  }

  get exitCode(): number {
    return CODES[this.code].exitCode
  }

  /** The shape that crosses the control socket and `--json`. */
  toJSON(): {
    code: ErrorCode
    message: string
    hint: string
    details: Readonly<Record<string, unknown>>
  } {
    return { code: this.code, message: this.message, hint: this.hint, details: this.details }
  }
}

/** Whether `value` is an OperationError, with this code if one is given. */
export function isOperationError(value: unknown, code?: ErrorCode): value is OperationError {
  return value instanceof OperationError && (code === undefined || value.code === code)
}

/** Whether doing the same again may help, without anybody mending anything. */
export function isRetryable(value: unknown): boolean {
  if (!(value instanceof OperationError)) return false
  const entry: CodeEntry = CODES[value.code]
  return entry.retryable === true
}

/** The text of any thrown value. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** The `code` of a system error (`ENOSPC`, `EADDRINUSE`), if it has one. */
export function systemCodeOf(thrown: unknown): string | undefined {
  if (thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string')
    return thrown.code
  return undefined
}
