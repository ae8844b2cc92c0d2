/** The lines that differ between two texts, in order: `-` in front of old ones and `+` in front of new ones. */
export function changedLines(before: string, after: string): string[] {
  const old = linesOf(before)
  const now = linesOf(after)
  const changed: string[] = []
  let next = 0
  for (const line of old) {
    // most of what was is still there: the next line that is the same ends what was put in before it
    const same = now.indexOf(line, next)
    if (same < 0) {
      changed.push(`- ${line}`)
      continue
    }
    changed.push(...now.slice(next, same).map((added) => `+ ${added}`))
    next = same + 1
  }
  return [...changed, ...now.slice(next).map((added) => `+ ${added}`)].map((line) => line.trimEnd())
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.replace(/\r?\n$/, '').split(/\r?\n/)
}
