"""libtorrent, set up for a fast local network, driven by lines (see line-process.ts).

No tracker, DHT, LSD, UPnP or NAT-PMP. In its favour: TCP only, as many upload slots as peers, no encryption,
no rate-based mixing with uTP. BENCH_SUPER_SEEDING=1 turns on super-seeding (BEP 16) at the seed.
"""
import json
import os
import sys
import threading
import time

import libtorrent as lt

options = json.loads(sys.argv[1])
session = lt.session({
    'listen_interfaces': '%s:%d' % (options['host'], options['port']),
    'enable_dht': False,
    'enable_lsd': False,
    'enable_upnp': False,
    'enable_natpmp': False,
    'enable_outgoing_utp': False,
    'enable_incoming_utp': False,
    'mixed_mode_algorithm': 0,
    'allow_multiple_connections_per_ip': True,
    'unchoke_slots_limit': -1,
    'out_enc_policy': 2,
    'in_enc_policy': 2,
    'alert_mask': lt.alert.category_t.status_notification,
})
parameters = lt.add_torrent_params()
parameters.ti = lt.torrent_info(options['torrent'])
parameters.save_path = options['directory']
if options['role'] == 'seed':
    parameters.flags |= lt.torrent_flags.seed_mode
    if os.environ.get('BENCH_SUPER_SEEDING') == '1':
        parameters.flags |= lt.torrent_flags.super_seeding
handle = session.add_torrent(parameters)


def fetch(peers):
    for peer in peers:
        address, port = peer.rsplit(':', 1)
        handle.connect_peer((address, int(port)))
    while not handle.status().is_seeding:
        session.wait_for_alert(20)
        session.pop_alerts()
    print('done', flush=True)


# It begins in threads of its own; whoever is refused before tries again only after a minute.
wanted = {'seed': lt.torrent_status.seeding, 'leecher': lt.torrent_status.downloading}[options['role']]
while handle.status().state != wanted or not session.is_listening():
    time.sleep(0.05)
time.sleep(0.5)
print('ready', flush=True)
for line in sys.stdin:
    order, _, argument = line.strip().partition(' ')
    if order == 'report':
        print('report %d' % handle.status().total_payload_upload, flush=True)
    if order == 'fetch':
        threading.Thread(target=fetch, args=(json.loads(argument),), daemon=True).start()
os._exit(0)
