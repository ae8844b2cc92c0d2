/** Certificates of a test: an authority of its own, and servers that it vouches for. */
// oxlint-disable-next-line import/no-unassigned-import -- x509 demands it, before itself
import 'reflect-metadata'
import { randomBytes } from 'node:crypto'
import type { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY_MS = 86_400_000

/** A key with its certificate, both PEM. */
export interface KeyPair {
  readonly certificate: string
  readonly key: string
}

/** An authority that trusts nobody but itself, and that nobody trusts who was not told to. */
export interface TestAuthority {
  /** Its own certificate, PEM. */
  readonly certificate: string
  /** A certificate for a server. @param names DNS names and addresses; 127.0.0.1 is always one */
  issue(...names: string[]): Promise<KeyPair>
}

/** Makes an authority with a fresh key (P-256). */
export async function makeTestAuthority(name = 'ddocker lab'): Promise<TestAuthority> {
  const keys = await makeKeys()
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    ...common(),
    name: `CN=${name} authority`,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return {
    certificate: authority.toString('pem'),
    issue: async (...names) => {
      const own = await makeKeys()
      const all = ['127.0.0.1', ...names]
      const certificate = await x509.X509CertificateGenerator.create({
        ...common(),
        subject: `CN=${names[0] ?? '127.0.0.1'}`,
        issuer: authority.subject,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        extensions: [
          new x509.BasicConstraintsExtension(false),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
          new x509.SubjectAlternativeNameExtension(
            all.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
          ),
          await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
        ],
      })
      return { certificate: certificate.toString('pem'), key: await pemOf(own.privateKey) }
    },
  }
}

/** A key with a certificate that it signed itself, such as for signing tokens. */
export async function makeSelfSigned(name: string): Promise<KeyPair> {
  const keys = await makeKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...common(),
    name: `CN=${name}`,
    keys,
  })
  return { certificate: certificate.toString('pem'), key: await pemOf(keys.privateKey) }
}

async function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
}

// Valid from yesterday, so that clocks of two programs need not agree.
function common() {
  return {
    serialNumber: `01${randomBytes(8).toString('hex')}`,
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + 30 * DAY_MS),
    signingAlgorithm: ALGORITHM,
  }
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  const der = await crypto.subtle.exportKey('pkcs8', key)
  return x509.PemConverter.encode(der, x509.PemConverter.PrivateKeyTag)
}
