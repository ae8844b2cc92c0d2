/** How a registry wants to be asked (RFC 7235, 4.1; distribution, spec/auth/token). */
export type Challenge =
  | {
      readonly scheme: 'bearer'
      readonly realm: URL
      readonly service?: string
      readonly scope?: string
    }
  | { readonly scheme: 'basic' }

// RFC 7235, 2.1: auth-scheme, then auth-param = token "=" ( token / quoted-string ), by commas
const SCHEME = /\s*([!#$%&'*+.^_`|~0-9a-z-]+)(?=\s|,|$)/iy
const PARAM = /\s*,?\s*([!#$%&'*+.^_`|~0-9a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))/iy
const SEPARATOR = /[\s,]*/y
const MAX_HEADER_LENGTH = 8192
const MAX_PARAM_LENGTH = 2048

/** Reads WWW-Authenticate. Bearer wins over Basic; what is neither, or has no usable realm, is nothing. */
export function parseChallenge(header: string | undefined): Challenge | undefined {
  if (header === undefined || header.length > MAX_HEADER_LENGTH) return undefined
  const challenges = splitChallenges(header)
  for (const { scheme, params } of challenges) {
    const bearer = scheme === 'bearer' ? bearerOf(params) : undefined
    if (bearer) return bearer
  }
  return challenges.some(({ scheme }) => scheme === 'basic') ? { scheme: 'basic' } : undefined
}

function bearerOf(params: ReadonlyMap<string, string>): Challenge | undefined {
  const text = params.get('realm') ?? ''
  if (!URL.canParse(text)) return undefined
  const realm = new URL(text)
  if (realm.protocol !== 'https:' && realm.protocol !== 'http:') return undefined
  realm.username = ''
  realm.password = ''
  realm.hash = ''
  const service = params.get('service')
  const scope = params.get('scope')
  return {
    scheme: 'bearer',
    realm,
    ...(service !== undefined && { service }),
    ...(scope !== undefined && { scope }),
  }
}

function splitChallenges(header: string): { scheme: string; params: Map<string, string> }[] {
  const challenges: { scheme: string; params: Map<string, string> }[] = []
  let position = 0
  const match = (pattern: RegExp) => {
    pattern.lastIndex = position
    const found = pattern.exec(header)
    if (found) position = pattern.lastIndex
    return found
  }
  for (;;) {
    match(SEPARATOR)
    const scheme = match(SCHEME)?.[1]
    if (scheme === undefined) return challenges
    const params = new Map<string, string>()
    for (let param = match(PARAM); param; param = match(PARAM)) {
      const value = param[2]?.replace(/\\(.)/g, '$1') ?? param[3] ?? ''
      const name = param[1]?.toLowerCase() ?? ''
      if (value.length <= MAX_PARAM_LENGTH && !params.has(name)) params.set(name, value)
    }
    challenges.push({ scheme: scheme.toLowerCase(), params })
  }
}
