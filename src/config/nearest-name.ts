/** More edits than this and a name is no longer a slip of the finger. */
const MAX_EDITS = 3

/**
 * The name that was probably meant: the one with the fewest edits, if they are few for its length.
 * @returns undefined where nothing comes close
 */
export function nearestName(written: string, names: Iterable<string>): string | undefined {
  const wanted = written.toLowerCase()
  let best: string | undefined
  let fewest = Math.min(MAX_EDITS, Math.floor(wanted.length * 0.4)) + 1
  for (const name of names) {
    const edits = editsBetween(wanted, name.toLowerCase())
    if (edits < fewest) [best, fewest] = [name, edits]
  }
  return best
}

/** ` (did you mean "x"?)`, or nothing. */
export function suggestion(written: string, names: Iterable<string>): string {
  const nearest = nearestName(written, names)
  return nearest === undefined ? '' : ` (did you mean "${nearest}"?)`
}

/** Insertions, removals and replacements that make `to` of `from` (Levenshtein). */
function editsBetween(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row]
    for (let column = 1; column <= to.length; column += 1) {
      const replaced = (previous[column - 1] ?? 0) + (from[row - 1] === to[column - 1] ? 0 : 1)
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[to.length] ?? 0
}
