import type { NetworkHost } from '../../src/testing/lab/network.ts'
import type { BenchImage } from '../bench-image.ts'

/** Where a comparison takes place. */
export interface Arena {
  /** in memory; every contestant makes its own folder in it */
  readonly directory: string
  readonly image: BenchImage
  /** hosts of the seed and the leechers, in this order; all on loopback where there are none */
  readonly hosts?: readonly NetworkHost[]
  readonly leechers: number
}

/** One process that takes part. */
export interface Contestant {
  readonly pid: number
  /** Bytes of the blob that it has sent to others so far, by its own count. */
  sentBytes(): Promise<number>
}

/** A process that does not have the blob yet. */
export interface Leecher extends Contestant {
  /** Fetches the blob; over when all of it is here and checked as the program checks it. */
  fetch(): Promise<void>
}

/** A seed and its leechers, ready to begin. Disposing ends them. */
export interface Lineup extends AsyncDisposable {
  readonly seed: Contestant
  readonly leechers: readonly Leecher[]
}

/** A program that can bring a blob from one to many. */
export interface Contender {
  readonly name: string
  /** how it is set up, for the row */
  readonly settings: Readonly<Record<string, unknown>>
  open(arena: Arena): Promise<Lineup>
}
