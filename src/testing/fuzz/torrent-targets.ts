import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'

import bencode from 'bencode'

import { encodeBlobRecord } from '../../membership/blob-record.ts'
import type { SwarmKey } from '../../membership/swarm-key.ts'
import { SwarmKeys } from '../../membership/swarm-keys.ts'
import { digestOf } from '../../oci/digest.ts'
import { encodeInfo, makeTorrent, parseInfo } from '../../torrent/metainfo.ts'
import { pieceCount } from '../../torrent/piece-length.ts'
import { BlobTorrents } from '../../transfer/blob-torrents.ts'
import type { FuzzTarget } from './fuzz.ts'
import { BENCODE } from './grammars.ts'
import { bytesOf } from './promises.ts'

const swarmKey = Buffer.alloc(32, 7) as SwarmKey
const SIZES = [0, 1, 262_144, 262_145, 3_000_000]
const torrents = SIZES.map((size) =>
  makeTorrent({
    digest: digestOf(String(size)),
    size,
    pieces: Buffer.concat(
      Array.from({ length: pieceCount(size) }, (_, index) =>
        createHash('sha1').update(`${size} ${index}`).digest(),
      ),
    ),
  }),
)

/** Info dictionaries (BEP 3): whatever is taken for a digest is what every holder of it would say, but for the pieces. */
export function infoTarget(): FuzzTarget {
  const seeds = torrents.map((torrent) => encodeInfo(torrent).toString('latin1'))
  return {
    name: 'info dictionary',
    grammar: BENCODE,
    seeds,
    codes: ['RECORD_INVALID'],
    read(input) {
      const bytes = bytesOf(input)
      const wanted = torrents[seeds.indexOf(input)] ?? torrents.at(-1)
      const torrent = parseInfo(bytes, wanted ?? { digest: digestOf(''), size: 1 })
      assert.ok(encodeInfo(torrent).equals(bytes))
      assert.equal(torrent.infoHash, createHash('sha1').update(bytes).digest('hex'))
      return `${torrent.size}`
    },
  }
}

/** What a peer hands over for a digest: the record and the info dictionary. */
export function metainfoTarget(): FuzzTarget {
  const unused = {} as never
  const reader = new BlobTorrents({
    store: unused,
    catalog: unused,
    swarmKeys: new SwarmKeys(swarmKey),
  })
  const seeds = torrents.map((torrent) => {
    const r = encodeBlobRecord(torrent, swarmKey)
    return Buffer.from(bencode.encode({ i: encodeInfo(torrent), r })).toString('latin1')
  })
  return {
    name: 'metainfo',
    grammar: BENCODE,
    seeds,
    codes: ['RECORD_INVALID'],
    read(input) {
      const wanted = torrents[seeds.indexOf(input)] ?? torrents.at(-1)
      const torrent = reader.takeOver(bytesOf(input), wanted ?? { digest: digestOf(''), size: 1 })
      assert.deepEqual(torrent, wanted)
      return `${torrent.size}`
    },
  }
}
