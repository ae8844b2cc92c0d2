"""A libtorrent client for the laboratory, driven by bittorrent-clients.ts.

usage: libtorrent-client.py {json}
  listen     "address:port"
  torrent    path of a .torrent, or a magnet link
  directory  where its files are or will be
  bootstrap  "address:port" of a DHT node, or null for no DHT
  peers      ["address:port", ...] to connect to

Prints `listening` when ready, `complete` when it holds everything, and one JSON line a second.
"""
import json
import signal
import sys
import time

import libtorrent as lt

options = json.loads(sys.argv[1])
session = lt.session({
    'listen_interfaces': options['listen'],
    'user_agent': 'lab',
    'enable_dht': options['bootstrap'] is not None,
    'dht_bootstrap_nodes': options['bootstrap'] or '',
    'enable_lsd': False,
    'enable_upnp': False,
    'enable_natpmp': False,
    # Not otherwise: it then drops a peer that dials it and whose port it knows already.
    'allow_multiple_connections_per_ip': options['listen'].startswith('127.'),
    # The laboratory's DHT is all loopback and private addresses.
    'dht_restrict_routing_ips': False,
    'dht_restrict_search_ips': False,
    'dht_ignore_dark_internet': False,
    'dht_prefer_verified_node_ids': False,
    'dht_enforce_node_id': False,
    # All nodes of the laboratory's DHT share an address, which five packets a second would block
    # for five minutes.
    'dht_block_ratelimit': 1000000,
})

torrent = options['torrent']
if torrent.startswith('magnet:'):
    parameters = lt.parse_magnet_uri(torrent)
else:
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
parameters.save_path = options['directory']
handle = session.add_torrent(parameters)

for peer in options['peers']:
    address, port = peer.rsplit(':', 1)
    handle.connect_peer((address, int(port)))

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('listening', flush=True)

is_complete = False
ticks = 0
while True:
    status = handle.status()
    if status.is_seeding and not is_complete:
        is_complete = True
        print('complete', flush=True)
    if ticks % 10 == 0:
        # Announced every 15 minutes by default, which no test can wait for.
        if options['bootstrap'] is not None and status.num_peers == 0:
            handle.force_dht_announce()
        print(json.dumps({
            'peers': status.num_peers,
            'progress': status.progress,
            'uploaded': status.total_payload_upload,
            'downloaded': status.total_payload_download,
            'dhtNodes': session.status().dht_nodes,
        }), flush=True)
    ticks += 1
    time.sleep(0.1)
