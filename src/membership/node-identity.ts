import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { systemCodeOf } from '../errors.ts'
import { writeFileAtomically } from '../support/atomic-file.ts'

// RFC 8410: the fixed SubjectPublicKeyInfo header in front of a raw Ed25519 key
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
const RAW_KEY_BYTES = 32

/** Who a node is: an Ed25519 key pair. The public key, 64 hex digits, is its id. */
export interface NodeIdentity {
  readonly nodeId: string
  /** raw, 32 bytes */
  readonly publicKey: Buffer
  /** Ed25519 (RFC 8032), 64 bytes */
  sign(message: Uint8Array): Buffer
  /** The private key, PKCS #8 as PEM: for the process of this node that talks to peers, and nobody else. */
  exportKey(): string
}

/** The identity of this data directory, made at the first start (mode 0600). The folder `keys` must exist. */
export async function openNodeIdentity(dataDir: string): Promise<NodeIdentity> {
  const path = join(dataDir, 'keys', 'node.pem')
  try {
    return identityOf(createPrivateKey(await readFile(path)))
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error
  }
  const { privateKey } = generateKeyPairSync('ed25519')
  await writeFileAtomically(path, privateKey.export({ format: 'pem', type: 'pkcs8' }), {
    mode: 0o600,
  })
  return identityOf(privateKey)
}

/** The identity behind a private key, PKCS #8 as PEM. */
export function nodeIdentityOf(pem: string): NodeIdentity {
  return identityOf(createPrivateKey(pem))
}

/** An identity that lives as long as the process: for tests and demos. */
export function makeNodeIdentity(): NodeIdentity {
  return identityOf(generateKeyPairSync('ed25519').privateKey)
}

/** Whether `signature` over `message` was made with the key whose raw public half is given. */
export function isSignedBy(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (publicKey.length !== RAW_KEY_BYTES) return false
  const key = createPublicKey({
    key: Buffer.concat([SPKI_PREFIX, publicKey]),
    format: 'der',
    type: 'spki',
  })
  return verify(null, message, key, signature)
}

function identityOf(privateKey: KeyObject): NodeIdentity {
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  const publicKey = spki.subarray(spki.length - RAW_KEY_BYTES)
  return {
    nodeId: publicKey.toString('hex'),
    publicKey,
    sign: (message) => sign(null, message, privateKey),
    exportKey: () => privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  }
}
