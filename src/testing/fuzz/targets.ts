import { datagramTarget, lanTarget, sealedTarget } from './discovery-targets.ts'
import type { FuzzTarget } from './fuzz.ts'
import {
  blobRecordTarget,
  inviteTarget,
  keyOrdersTarget,
  referenceRecordTarget,
  requestProofTarget,
} from './membership-targets.ts'
import { manifestTarget, referenceTarget } from './oci-targets.ts'
import { meetingItemTarget } from './meeting-targets.ts'
import { peerMessagesTarget } from './peering-targets.ts'
import { infoTarget, metainfoTarget } from './torrent-targets.ts'
import { openExtendedTarget, openHandshakeTarget, openMessagesTarget } from './wire-targets.ts'

/** Every parser of what a peer sends. */
export const TARGETS: Readonly<Record<string, () => FuzzTarget | Promise<FuzzTarget>>> = {
  datagram: datagramTarget,
  'sealed datagram': sealedTarget,
  'LAN message': lanTarget,
  'meeting item': meetingItemTarget,
  handshake: openHandshakeTarget,
  'wire messages': openMessagesTarget,
  'extended messages': openExtendedTarget,
  'blob record': blobRecordTarget,
  'info dictionary': infoTarget,
  metainfo: metainfoTarget,
  'reference record': referenceRecordTarget,
  'orders of keys': keyOrdersTarget,
  invite: inviteTarget,
  'request proof': requestProofTarget,
  'messages between nodes': peerMessagesTarget,
  manifest: manifestTarget,
  'image name': referenceTarget,
}
