import { createHash } from 'node:crypto'

/** What a registry is shown: a name and a password, an OAuth2 refresh token, or a token for itself. */
export type Credential =
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string }
  | { readonly kind: 'registry-token'; readonly token: string }

/** Tells credentials apart in memory without keeping them as keys. */
export function fingerprintOf(credential: Credential): string {
  return createHash('sha256').update(JSON.stringify(credential)).digest('hex')
}

/** Reads the Authorization header of a client; schemes other than Basic and Bearer are nothing. */
export function parseAuthorization(header: string): Credential | undefined {
  const [, scheme = '', value = ''] = /^\s*([a-z]+)\s+([\x21-\x7e]+)\s*$/i.exec(header) ?? []
  if (scheme.toLowerCase() === 'bearer') return { kind: 'registry-token', token: value }
  return scheme.toLowerCase() === 'basic' ? parseUserPassword(value) : undefined
}

/** @param text base64 of `user:password` (RFC 7617) */
export function parseUserPassword(text: string): Credential | undefined {
  // docker login pads with NUL
  const decoded = Buffer.from(text, 'base64').toString('utf8').replace(/\0+$/, '')
  const colon = decoded.indexOf(':')
  if (colon <= 0) return undefined
  return { kind: 'basic', username: decoded.slice(0, colon), password: decoded.slice(colon + 1) }
}

/** The header that shows a credential to the registry itself; an identity token is for its realm only. */
export function directAuthorization(credential: Credential): string | undefined {
  if (credential.kind === 'identity-token') return undefined
  if (credential.kind === 'registry-token') return `Bearer ${credential.token}`
  return basicAuthorization(credential)
}

export function basicAuthorization({
  username,
  password,
}: {
  username: string
  password: string
}): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}
