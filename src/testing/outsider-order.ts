/** What an outsider is told before it starts, as JSON: bytes are base64. */
export interface OutsiderOrder {
  /** its own address, and the peer port of the member that it is to try */
  readonly own: string
  readonly target: { readonly host: string; readonly port: number }
  readonly seed: number
  /** certificates that nobody has heard of, PEM */
  readonly certificate: string
  readonly key: string
  /** what it has overheard, in the order of time: what others said to the target, and what that said to them */
  readonly clientStreams: readonly string[]
  readonly serverStreams: readonly string[]
  readonly datagrams: readonly string[]
  readonly multicasts: readonly string[]
  /** what it may have learnt elsewhere: hex, and in clear */
  readonly infoHash: string
  readonly rendezvousKeys: readonly string[]
  readonly digests: readonly string[]
  readonly names: readonly string[]
  /** of a node that was a member and was shut out: its own key as PEM, and swarm keys that have ended, hex */
  readonly revoked?: { readonly nodeKey: string; readonly oldKeys: readonly string[] }
}

/** How the tries of one kind ended. */
export interface TriesOfKind {
  tries: number
  /** tries that something came back for, and how many bytes in all; of TLS, what was said inside of it */
  answered: number
  bytes: number
}

/** What an outsider has seen. */
export interface OutsiderReport {
  readonly kinds: Readonly<Record<string, TriesOfKind>>
  /** handshakes of TLS that were completed, whoever began them, and what was said after them, base64 */
  readonly openedChannels: number
  readonly told: string
  /** connections that came to it */
  readonly dialled: number
  /** idle and slow connections that the target did not end by itself */
  readonly keptOpen: number
  readonly ms: number
}
