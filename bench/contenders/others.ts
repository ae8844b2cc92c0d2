import { join } from 'node:path'

import type { Contender } from './contender.ts'
import { lineContender } from './line-process.ts'

const here = (file: string): string => join(import.meta.dirname, file)
const OFF = 'trackers, DHT, LSD, UPnP, NAT-PMP'

/** A file by HTTP from process to process; what a network and Node's streams cost without checks. */
export function plainHttp(): Contender {
  return lineContender({
    name: 'plain HTTP',
    settings: { checks: 'none' },
    command: [process.execPath, here('plain-http-process.ts')],
  })
}

/** webtorrent as it comes, over TCP or with uTP as it prefers. */
export function webtorrent({ utp = false }: { utp?: boolean } = {}): Contender {
  return lineContender({
    name: 'webtorrent',
    settings: { version: '3.0.21', utp, off: OFF },
    command: ['env', `BENCH_UTP=${utp ? 1 : 0}`, process.execPath, here('webtorrent-process.ts')],
  })
}

/** libtorrent, set up in its favour; with super-seeding (BEP 16) where asked for. */
export function libtorrent({ superSeeding = false }: { superSeeding?: boolean } = {}): Contender {
  const command = ['/usr/bin/python3', here('libtorrent-process.py')]
  return lineContender({
    name: superSeeding ? 'libtorrent, super-seeding' : 'libtorrent',
    settings: { version: '2.0.8', utp: false, uploadSlots: 'all', off: OFF },
    command: ['env', `BENCH_SUPER_SEEDING=${superSeeding ? 1 : 0}`, ...command],
  })
}
