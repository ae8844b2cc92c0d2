import { constants } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  connect,
  createSecureContext,
  TLSSocket,
  type SecureContextOptions,
  type TlsOptions,
  type TLSSocketOptions,
} from 'node:tls'

import { OperationError } from '../errors.ts'
import { deriveKey, type SwarmKey } from '../membership/swarm-key.ts'

const CONTEXT: SecureContextOptions = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  // an external key is tied to one hash (RFC 8446, 4.2.11): SHA-256, so this suite
  ciphers: 'TLS_AES_128_GCM_SHA256',
  // no authority counts: a server that would rather show a certificate is a stranger
  ca: [],
  // nobody comes back by what an earlier connection gave him
  secureOptions: constants.SSL_OP_NO_TICKET,
}

/**
 * TLS 1.3 between the members of a closed swarm. Both ends prove the swarm key by the handshake itself, as an external
 * pre-shared key (RFC 8446, 2.2; RFC 9257), and a key exchange on top makes the keys of every connection its own: what
 * was recorded says nothing, even to who learns the swarm key later. A handshake takes no certificate and no signature.
 */
export class SecureChannel {
  readonly #context = createSecureContext(CONTEXT)
  readonly #identity: string
  readonly #psk: Buffer

  constructor(key: SwarmKey) {
    this.#identity = deriveKey(key, 'dd1/tls-identity\0').toString('hex', 0, 16)
    this.#psk = deriveKey(key, 'dd1/tls\0')
  }

  /** The other side of a connection that came in; emits `secure` when it has proven the key, `error` where it cannot. */
  accept(socket: Socket): TLSSocket {
    const options: TLSSocketOptions & Pick<TlsOptions, 'pskCallback'> = {
      isServer: true,
      secureContext: this.#context,
      pskCallback: (_, identity) => (identity === this.#identity ? this.#psk : null),
    }
    return new TLSSocket(socket, options)
  }

  /** Connects to a member. What is written waits for the proof. @param onReady called when it was given */
  dial({ host, port }: { host: string; port: number }, onReady?: () => void): Socket {
    const socket = connect({
      host,
      port,
      secureContext: this.#context,
      pskCallback: () => ({ identity: this.#identity, psk: this.#psk }),
    })
    socket.setNoDelay(true)
    socket.once('secureConnect', () => {
      if (socket.isSessionReused()) onReady?.()
      else socket.destroy(notAMember(`${host}:${port}`))
    })
    return socket
  }
}

function notAMember(address: string): OperationError {
  return new OperationError(
    'NODE_UNREACHABLE',
    `node at ${address}: it does not prove the swarm key`,
  )
}
