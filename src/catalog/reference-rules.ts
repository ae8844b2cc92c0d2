import {
  isFromFuture,
  supersedes,
  type SignedReferenceRecord,
} from '../membership/reference-record.ts'
import type { ReferenceMark } from './reference-files.ts'

/** Signers that are heard on one name; beyond, the one that decided longest ago is forgotten. */
export const MAX_SIGNERS_PER_NAME = 64
/** Names on which one signer is heard. */
export const MAX_NAMES_PER_SIGNER = 10_000

/** The mark of a name that stands for all signers of it that were forgotten: as far as the last of them had come. */
export const FLOOR = ''
/** The name of the mark that says that a signer is heard no more. */
export const ANY_NAME = ''

/** Whether a record is newer than all that is known of its signer and name (TUF, rollback attack). */
export function isAbove(record: SignedReferenceRecord, mark: ReferenceMark | undefined): boolean {
  // A mark from the future was made when this clock was wrong: kept, it would refuse the signer for years.
  if (!mark || isFromFuture(mark.sequence)) return true
  return mark.record ? supersedes(record, mark.record) : record.sequence > mark.sequence
}

/**
 * Whether a record that a peer handed over is taken, and which mark makes room for it. Identities cost nothing, so
 * without a bound whoever is in the swarm could fill the disk; without the floor, who was forgotten could go back.
 * @param marks all of the name
 * @param self whose marks stay
 */
export function judgeHeard(
  record: SignedReferenceRecord,
  marks: readonly ReferenceMark[],
  self: string,
): { isTaken: boolean; evicted?: ReferenceMark } {
  const known = marks.find(({ nodeId }) => nodeId === record.nodeId)
  if (known) return { isTaken: isAbove(record, known) }
  const floor = marks.find(({ nodeId }) => nodeId === FLOOR)
  if (floor && !isFromFuture(floor.sequence) && record.sequence <= floor.sequence) {
    return { isTaken: false }
  }
  const signers = marks.filter(({ nodeId }) => nodeId !== FLOOR)
  if (signers.length < MAX_SIGNERS_PER_NAME) return { isTaken: true }
  const [oldest] = signers
    .filter(({ nodeId }) => nodeId !== self)
    .sort((a, b) => a.sequence - b.sequence)
  if (!oldest || record.sequence <= oldest.sequence) return { isTaken: false }
  return { isTaken: true, evicted: oldest }
}

/** Records that may say what a name means: none from the future, unless all are, and this clock is behind. */
export function credible(records: readonly SignedReferenceRecord[]): SignedReferenceRecord[] {
  const present = records.filter(({ sequence }) => !isFromFuture(sequence))
  return present.length > 0 ? present : [...records]
}
