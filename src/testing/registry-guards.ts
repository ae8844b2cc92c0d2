/** Registries that want to know who asks, and some that lead elsewhere: for `openLayoutRegistry`. */
import type { Canary } from './canaries.ts'
import type { RegistryGuard } from './layout-registry.ts'

const TOKEN_PATH = '/token'

/** Lets in who shows this name and password by Basic. */
export function basicGuard({ basic }: Pick<Canary, 'basic'>): RegistryGuard {
  return ({ headers }, response) => {
    if (headers.authorization === basic) return false
    response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="a registry of a test"' })
    response.end()
    return true
  }
}

/** Lets in who shows the token that its own token server gives for a name and password. */
export function bearerGuard(account: Pick<Canary, 'basic'>, token: string): RegistryGuard {
  return ({ headers, url = '' }, response) => {
    if (url.startsWith(TOKEN_PATH)) {
      const isKnown = headers.authorization === account.basic
      response.writeHead(isKnown ? 200 : 401, { 'Content-Type': 'application/json' })
      response.end(isKnown ? JSON.stringify({ token, expires_in: 300 }) : '{}')
      return true
    }
    if (headers.authorization === `Bearer ${token}`) return false
    return challenge(response, `http://${headers.host ?? ''}${TOKEN_PATH}`)
  }
}

/** Never lets anybody in, and names a token server elsewhere. */
export function realmGuard(realm: string): RegistryGuard {
  return (_request, response) => challenge(response, realm)
}

/** Lets in as another guard does, and then sends everybody who wants a blob to another place. */
export function redirectGuard(guard: RegistryGuard, base: string): RegistryGuard {
  return (request, response) => {
    if (guard(request, response)) return true
    const { url = '' } = request
    if (!url.includes('/blobs/')) return false
    response.writeHead(307, { Location: `${base}${url}` })
    response.end()
    return true
  }
}

function challenge(response: Parameters<RegistryGuard>[1], realm: string): true {
  const scope = 'repository:x:pull'
  response.writeHead(401, {
    'WWW-Authenticate': `Bearer realm="${realm}",service="test",scope="${scope}"`,
  })
  response.end()
  return true
}
