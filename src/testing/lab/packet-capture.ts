/** Everything that the hosts of a network of the lab send, as tcpdump on its bridge sees it. */
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

import { readCapture, type Capture } from '../pcap.ts'
import { Child } from './child.ts'
import { openLabDirectory } from './lab-directory.ts'
import { hostAt, type Network } from './network.ts'

// The discard port: nobody listens there.
const MARK_PORT = 9
const MARK_BYTES = 32
const MARK_INTERVAL_MS = 50
const MARK_MS = 10_000
const KERNEL_BUFFER_KIB = 65_536

/** A capture that goes on. Disposing ends it and forgets what it has. */
export interface PacketCapture extends AsyncDisposable {
  /** Ends it; what was sent before the call is in it. @throws Error when the kernel lost a packet */
  stop(): Promise<Capture>
}

/** Begins to capture what passes the bridge of the network, and returns when it does. Needs tcpdump. */
export async function startPacketCapture(network: Network): Promise<PacketCapture> {
  await using started = new AsyncDisposableStack()
  const directory = started.use(await openLabDirectory('capture'))
  const file = join(directory.path, 'all.pcap')
  const options = ['-i', bridgeOf(network), '-w', file, '-B', String(KERNEL_BUFFER_KIB)]
  // Not in immediate mode: there the buffer of the kernel has room for 256 packets of any size.
  const more = ['--packet-buffered', '-n', '-s', '0', '-Z', 'root']
  const tcpdump = started.use(new Child('tcpdump', [...options, ...more]))
  await tcpdump.waitForLine(/listening on/, { from: 'stderr' })
  const resources = started.move()
  return {
    async stop() {
      await markIn(file, hostAt(network, 0).address)
      tcpdump.signal('SIGINT')
      await tcpdump.waitForExit()
      const lost = /^(\d+) packets? dropped by kernel$/m.exec(tcpdump.stderr)?.[1]
      if (lost !== '0') throw new Error(`the capture is not whole: ${tcpdump.stderr}`)
      return readCapture(await readFile(file))
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}

function bridgeOf({ gateway }: Network): string {
  const found = Object.entries(networkInterfaces()).find(([, addresses = []]) =>
    addresses.some(({ address }) => address === gateway),
  )
  if (!found) throw new Error(`no interface has ${gateway}`)
  return found[0]
}

/** Sends something until it is seen in the file: all that was sent before it is there as well. */
async function markIn(file: string, host: string): Promise<void> {
  const mark = randomBytes(MARK_BYTES)
  const deadline = AbortSignal.timeout(MARK_MS)
  const socket = createSocket('udp4')
  try {
    for (;;) {
      socket.send(mark, MARK_PORT, host)
      await setTimeout(MARK_INTERVAL_MS)
      const captured = await readFile(file)
      if (captured.includes(mark)) return
      if (deadline.aborted) throw new Error('tcpdump does not see what is sent')
    }
  } finally {
    socket.close()
  }
}
