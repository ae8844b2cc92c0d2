/** `850 ms`, `12.3 s`, `4 m 10 s`, `23 h 5 m`. */
export function formatDurationMs(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  const minutes = Math.round(ms / 60_000)
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} m`
  return `${Math.floor(seconds / 60)} m ${seconds % 60} s`
}
