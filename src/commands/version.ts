import { VERSION } from '../version.ts'
import type { Command } from './command.ts'

/** Prints the version of ddocker, with --json that of Node too. */
export const version: Command = ({ output }) => {
  output.answer({ version: VERSION, node: process.versions.node }, () => VERSION)
  return Promise.resolve(0)
}
