import type { OutgoingHttpHeaders } from 'node:http'

import { listen, type HttpServer } from '../http/listen.ts'
import { createRegistryApp } from '../registry/app.ts'
import { httpRequest, type HttpAnswer } from './http-request.ts'
import { MemoryRegistryBackend } from './memory-registry-backend.ts'

/** A registry door on loopback over a backend in memory. */
export interface OpenDoor extends AsyncDisposable {
  readonly backend: MemoryRegistryBackend
  readonly server: HttpServer
  readonly port: number
  readonly get: (path: string, headers?: OutgoingHttpHeaders) => Promise<HttpAnswer>
  readonly request: (method: string, path: string) => Promise<HttpAnswer>
}

type DoorOptions = Omit<Parameters<typeof createRegistryApp>[0], 'backend'>

/** Opens a door on a free port; its connections are destroyed at the end of the test. */
export async function openDoor(options: DoorOptions = {}): Promise<OpenDoor> {
  const backend = new MemoryRegistryBackend()
  const app = createRegistryApp({ ...options, backend })
  const server = await listen(app, { host: '127.0.0.1', port: 0 })
  const { port } = server
  return {
    backend,
    server,
    port,
    get: (path, headers = {}) => httpRequest({ port, path, headers }),
    request: (method, path) => httpRequest({ port, method, path }),
    [Symbol.asyncDispose]: () => server.drain({ timeoutMs: 0 }),
  }
}
