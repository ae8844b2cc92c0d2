"""DHT nodes for the laboratory, all in one process, driven by bittorrent-clients.ts.

usage: libtorrent-dht.py ADDRESS FIRST_PORT COUNT

Node i listens on FIRST_PORT + i and starts from node 0. Prints `listening` when all know another.
"""
import signal
import sys
import time

import libtorrent as lt

address, first_port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def open_node(index):
    return lt.session({
        'listen_interfaces': '%s:%d' % (address, first_port + index),
        'enable_dht': True,
        'dht_bootstrap_nodes': '%s:%d' % (address, first_port) if index > 0 else '',
        'enable_lsd': False,
        'enable_upnp': False,
        'enable_natpmp': False,
        # The laboratory's DHT is all on one address, or on a few private ones.
        'dht_restrict_routing_ips': False,
        'dht_restrict_search_ips': False,
        'dht_ignore_dark_internet': False,
        'dht_prefer_verified_node_ids': False,
        'dht_enforce_node_id': False,
        # All nodes of the laboratory's DHT share an address, which five packets a second would block
        # for five minutes.
        'dht_block_ratelimit': 1000000,
    })


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
nodes = [open_node(index) for index in range(count)]
for index, node in enumerate(nodes):
    for other in range(count):
        if other != index:
            node.add_dht_node((address, first_port + other))
while count > 1 and any(node.status().dht_nodes == 0 for node in nodes):
    time.sleep(0.05)
print('listening', flush=True)
while True:
    time.sleep(3600)
