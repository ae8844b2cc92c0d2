/** Where a profile spent its time: `node bench/top-functions.ts FILE.cpuprofile [COUNT]`. */
import { readFile } from 'node:fs/promises'

interface ProfileNode {
  readonly id: number
  readonly callFrame: { functionName: string; url: string; lineNumber: number }
}

/** What `node --cpu-prof` writes, as far as it matters here. */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[]
  readonly samples: readonly number[]
  /** microseconds since the sample before */
  readonly timeDeltas: readonly number[]
}

/** A function with the time in itself, without what it called. */
export interface FunctionTime {
  readonly place: string
  readonly ms: number
  /** of all time that was not idle */
  readonly share: number
}

/** Functions by their own time, the most expensive first. */
export function topFunctions({ nodes, samples, timeDeltas }: CpuProfile): FunctionTime[] {
  const places = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]))
  const times = new Map<string, number>()
  for (const [index, id] of samples.entries()) {
    const place = places.get(id) ?? 'unknown'
    // The delta stands before its sample: the time went to the sample before.
    times.set(place, (times.get(place) ?? 0) + (timeDeltas[index + 1] ?? 0) / 1000)
  }
  times.delete('(idle)')
  times.delete('(program)')
  const busyMs = [...times.values()].reduce((sum, ms) => sum + ms, 0)
  return [...times]
    .map(([place, ms]) => ({ place, ms, share: ms / busyMs }))
    .sort((a, b) => b.ms - a.ms)
}

function placeOf({ functionName, url, lineNumber }: ProfileNode['callFrame']): string {
  const name = functionName === '' ? '(anonymous)' : functionName
  const file = url.replace(/^.*\/(src|node_modules)\//, '$1/')
  return file === '' ? name : `${name} ${file}:${lineNumber + 1}`
}

if (import.meta.main) {
  const [file = '', count = '25'] = process.argv.slice(2)
  const profile = JSON.parse(await readFile(file, 'utf8')) as CpuProfile
  for (const { place, ms, share } of topFunctions(profile).slice(0, Number(count))) {
    process.stdout.write(
      `${ms.toFixed(0).padStart(7)} ms ${(share * 100).toFixed(1).padStart(5)} %  ${place}\n`,
    )
  }
}
