import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Metrics } from './metrics.ts'

const samplesOf = async (metrics: Metrics) =>
  (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))

test('has every counter from the start, at zero', async () => {
  const samples = await samplesOf(new Metrics({ withProcess: false }))
  for (const sample of [
    'ddocker_blob_bytes_total{source="store"} 0',
    'ddocker_blob_bytes_total{source="peers"} 0',
    'ddocker_blob_bytes_total{source="upstream"} 0',
    'ddocker_peer_bytes_total{direction="in"} 0',
    'ddocker_peer_bytes_total{direction="out"} 0',
    'ddocker_transfers_total{outcome="done"} 0',
    'ddocker_transfers_total{outcome="failed"} 0',
    'ddocker_transfers_total{outcome="cancelled"} 0',
    'ddocker_bad_pieces_total 0',
  ]) {
    assert.ok(samples.includes(sample), sample)
  }
})

test('counts by source, direction and outcome', async () => {
  const metrics = new Metrics({ withProcess: false })
  metrics.countBlobBytes('upstream', 5)
  metrics.countBlobBytes('upstream', 7)
  metrics.countPeerBytes('out', 3)
  metrics.countTransfer('failed')
  metrics.countBadPiece()
  metrics.observeRequest({ route: 'blob', status: 206, seconds: 2 })
  metrics.setLevels({
    peers: 1,
    bannedPeers: 2,
    transfersUnderWay: 3,
    blobs: 4,
    blobBytes: 5,
    images: 6,
    dhtNodes: 7,
  })
  const samples = await samplesOf(metrics)
  for (const sample of [
    'ddocker_blob_bytes_total{source="upstream"} 12',
    'ddocker_peer_bytes_total{direction="out"} 3',
    'ddocker_transfers_total{outcome="failed"} 1',
    'ddocker_bad_pieces_total 1',
    'ddocker_http_request_seconds_bucket{le="1",route="blob",status="2xx"} 0',
    'ddocker_http_request_seconds_bucket{le="3",route="blob",status="2xx"} 1',
    'ddocker_peers 1',
    'ddocker_banned_peers 2',
    'ddocker_transfers_under_way 3',
    'ddocker_blobs 4',
    'ddocker_blob_store_bytes 5',
    'ddocker_images 6',
    'ddocker_dht_nodes 7',
  ]) {
    assert.ok(samples.includes(sample), sample)
  }
})

test('keeps the numbers of two nodes in one process apart', async () => {
  const one = new Metrics({ withProcess: false })
  const other = new Metrics({ withProcess: false })
  one.countBadPiece()
  assert.ok((await samplesOf(other)).includes('ddocker_bad_pieces_total 0'))
})

test('tells of the process as well', async () => {
  const text = await new Metrics().text()
  assert.match(text, /^process_resident_memory_bytes \d+$/m)
  assert.match(text, /^nodejs_eventloop_lag_seconds /m)
})
