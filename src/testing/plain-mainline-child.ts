/** For tests: a stand-in for mainline in a process of its own, and so in a host of the lab. */
import { createInterface } from 'node:readline'

import { formatPeerAddress } from '../discovery/discovery.ts'
import { PlainMainline } from './plain-mainline.ts'

interface Options {
  nodeCount: number
  hosts: string[]
  port: number
}

const options = JSON.parse(process.argv[2] ?? '{}') as Options
await using mainline = await PlainMainline.open(options)
process.stdout.write(`router ${formatPeerAddress(mainline.router)}\n`)
const stopping = new AbortController()
process.once('SIGTERM', () => stopping.abort())
const lines = createInterface({ input: process.stdin, signal: stopping.signal })
for await (const _ of lines) process.stdout.write(`kept ${JSON.stringify(mainline.kept())}\n`)
