import { createInterface } from 'node:readline'

import type { LineProcessOptions } from './line-process.ts'

/** What a program that is driven by lines can do. */
export interface LineProgram {
  /** from these peers, `host:port` */
  fetch(peers: readonly string[]): Promise<void>
  /** bytes of the blob that went out */
  sentBytes(): number
}

/** The one argument of a program that is driven by lines. */
export function lineOptions(): LineProcessOptions {
  return JSON.parse(process.argv[2] ?? '') as LineProcessOptions
}

/** Says that the program is ready, and does what comes on stdin. */
export async function obeyLines(program: LineProgram): Promise<void> {
  say('ready')
  for await (const line of createInterface({ input: process.stdin })) {
    const [order, argument = ''] = line.split(' ')
    if (order === 'report') say(`report ${program.sentBytes()}`)
    if (order === 'fetch') void obeyFetch(program, JSON.parse(argument) as string[])
  }
}

async function obeyFetch(program: LineProgram, peers: readonly string[]): Promise<void> {
  await program.fetch(peers)
  say('done')
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
