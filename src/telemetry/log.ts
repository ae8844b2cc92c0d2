import { pino, type Logger } from 'pino'
import pretty from 'pino-pretty'

/**
 * Structured lines on stderr: a constant message, and fields with fixed names
 * (`digest, reference, infohash, peer, bytes, ms, code`). Secrets never enter a field.
 */
export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'> & { child(fields: object): Log }

interface LogOptions {
  level?: string
  /** people read colours and short lines, programs read JSON */
  isTerminal?: boolean
}

/** Opens the log of this process. */
export function openLog({ level = 'info', isTerminal = false }: LogOptions = {}): Log {
  if (!isTerminal) return pino({ level, base: null }, pino.destination({ dest: 2, sync: true }))
  const people = pretty({
    destination: 2,
    sync: true,
    ignore: 'pid,hostname',
    translateTime: 'HH:MM:ss',
  })
  return pino({ level, base: null }, people)
}

/** The level from which on lines of a log are kept. */
export function levelOf(log: Log): string {
  return 'level' in log && typeof log.level === 'string' ? log.level : 'debug'
}

/** A line on its way to the log of another process. */
export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: Readonly<Record<string, unknown>>
  readonly message: string
}

/** A log whose lines are written elsewhere, by {@link relayLine}. */
export function openRelayedLog(level: string, send: (line: LogLine) => void): Log {
  const write = (text: string) => {
    const { level: name, msg, ...fields } = JSON.parse(text) as Record<string, unknown>
    send({ level: name as LogLine['level'], fields, message: String(msg) })
  }
  const formatters = { level: (name: string) => ({ level: name }) }
  return pino({ level, base: null, timestamp: false, formatters }, { write })
}

/** Writes a line of an {@link openRelayedLog}. */
export function relayLine(log: Log, { level, fields, message }: LogLine): void {
  const names = ['debug', 'info', 'warn', 'error'] as const
  log[names.find((name) => name === level) ?? 'error'](fields, message)
}

/** A log that says nothing: the default of every room, and of tests. */
export const silentLog: Log = pino({ level: 'silent' })
