/** The program of a peer side that has a process of its own; see peer-side-process.ts. */
import { flushCompileCache } from 'node:module'

import { linkToParent } from '../support/message-link.ts'

const KEEP_COMPILED_AFTER_MS = 2000

// One library tells people of a part of it that is not there, and that nobody here wants.
Object.assign(console, { warn: () => {} })

const link = linkToParent()
// The node decides when this ends: a signal that a terminal sends to both is meant for the node.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => {})
link.onClosed(() => process.exit())

// Node keeps what it compiled when it ends, which this process may never do in order.
setTimeout(flushCompileCache, KEEP_COMPILED_AFTER_MS).unref()

const { PeerSideHost } = await import('./peer-side-host.ts')
const host = new PeerSideHost(link)
// Strangers speak to this process through libraries that have thrown out of their listeners before: what nobody
// caught is logged, and what is under way goes on.
process.on('uncaughtException', (error) => host.onUnexpected(error))
