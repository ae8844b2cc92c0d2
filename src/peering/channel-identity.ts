import type { TLSSocket } from 'node:tls'

import { OperationError } from '../errors.ts'
import { isSignedBy, type NodeIdentity } from '../membership/node-identity.ts'

type Role = 'client' | 'server'

const VERSION = 1
const KEY_BYTES = 32
const SIGNATURE_BYTES = 64
const FRAME_BYTES = 1 + KEY_BYTES + SIGNATURE_BYTES
// RFC 9266: what both ends of one TLS 1.3 connection, and nobody else, can derive
const BINDING_LABEL = 'EXPORTER-Channel-Binding'
const BINDING_BYTES = 32

/**
 * Says who this node is, as the first bytes on a new channel: a version, its public key, and a signature over what only
 * this channel has. Whoever reads it can do nothing with it on another one.
 */
export function introduce(socket: TLSSocket, role: Role, identity: NodeIdentity): void {
  const signature = identity.sign(messageOf(socket, role))
  socket.write(Buffer.concat([Buffer.of(VERSION), identity.publicKey, signature]))
}

/**
 * Reads how the other side, which has the role that is given, introduces itself, and no byte more. What it says next
 * is left for who listens from then on.
 * @param onKnown its node id, 64 hex digits; or what is wrong, OperationError REQUEST_UNPROVEN
 */
export function meet(
  socket: TLSSocket,
  role: Role,
  onKnown: (known: string | OperationError) => void,
): void {
  const onReadable = () => {
    const frame: unknown = socket.read(FRAME_BYTES)
    if (!Buffer.isBuffer(frame)) return
    socket.off('readable', onReadable)
    // A listener that is added before this one is really gone would not be told of what is here already.
    process.nextTick(() => onKnown(frame.length === FRAME_BYTES ? check(frame) : unproven()))
  }
  const check = (frame: Buffer) => {
    const publicKey = frame.subarray(1, 1 + KEY_BYTES)
    const signature = frame.subarray(1 + KEY_BYTES)
    if (frame[0] !== VERSION) return unproven()
    if (!isSignedBy(publicKey, messageOf(socket, role), signature)) return unproven()
    return publicKey.toString('hex')
  }
  socket.on('readable', onReadable)
}

function messageOf(socket: TLSSocket, role: Role): Buffer {
  const binding = socket.exportKeyingMaterial(BINDING_BYTES, BINDING_LABEL, Buffer.alloc(0))
  return Buffer.concat([Buffer.from(`dd1/channel\0${role}\0`), binding])
}

function unproven(): OperationError {
  return new OperationError(
    'REQUEST_UNPROVEN',
    'node: wanted its public key and its signature of this connection, found something else',
  )
}
