import type { Command } from './command.ts'
export const demo: Command = () => Promise.resolve(0)
