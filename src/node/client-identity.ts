import type { ClientUsers } from '../http/client-user.ts'
import type { DoorClient } from '../registry/registry-backend.ts'
import type { UpstreamIdentity } from '../upstream/upstream.ts'

interface ClientIdentityOptions {
  readonly users: Pick<ClientUsers, 'userOf'>
  /** whether this node may have a login for a registry */
  readonly mayLogIn: (registry: string) => Promise<boolean>
  /** registries to which a client's own Authorization header is passed on */
  readonly passCredentials: readonly string[]
}

/**
 * By whose right a client asks a registry. What it brought itself counts where the registry is listed for that.
 * Else it may lean on the logins of this node if it runs as the user of the node, or as root, as engines do: another
 * user of this host could not read them either.
 */
export class ClientIdentities {
  readonly #options: ClientIdentityOptions

  constructor(options: ClientIdentityOptions) {
    this.#options = options
  }

  async of(client: DoorClient | undefined, registry: string): Promise<UpstreamIdentity> {
    if (!client) return { kind: 'node' }
    const { socket, authorization } = client
    const { users, passCredentials, mayLogIn } = this.#options
    if (authorization !== undefined && passCredentials.includes(registry)) {
      return { kind: 'client', authorization }
    }
    // Without a login there is nothing to lean on, and a look at the kernel's table of connections takes some 3 ms.
    if (!(await mayLogIn(registry))) return { kind: 'anonymous' }
    const own = process.getuid?.()
    if (own === undefined || process.platform !== 'linux') return { kind: 'node' }
    const user = await users.userOf(socket)
    return user === 0 || user === own ? { kind: 'node' } : { kind: 'anonymous' }
  }
}
