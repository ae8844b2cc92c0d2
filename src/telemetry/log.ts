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

/** A log that says nothing: the default of every room, and of tests. */
export const silentLog: Log = pino({ level: 'silent' })
