import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'

import { ClientUsers } from './client-user.ts'

// of Debian and of most others: nobody
const NOBODY = 65534
const isRoot = process.getuid?.() === 0 && process.platform === 'linux'

for (const host of ['127.0.0.1', '::1']) {
  test(`knows its own user at the other end of a connection to ${host}`, async (t) => {
    if (process.platform !== 'linux') return t.skip('the tables are those of Linux')
    const { server, port } = await listen(t, host)
    const client = connect({ host, port })
    const [socket] = (await once(server, 'connection')) as [Socket]
    assert.equal(await new ClientUsers().userOf(socket), process.getuid?.())
    client.destroy()
  })
}

test('a port that root has, at another address of loopback, makes nobody root', async (t) => {
  if (!isRoot) return t.skip('only root can be somebody else')
  const { server, port } = await listen(t, '127.0.0.1')
  for (const localAddress of ['127.0.0.2', '127.0.0.3', '127.0.0.77', '127.1.2.3']) {
    const own = connect({ host: '127.0.0.1', port })
    await once(server, 'connection')
    const options = { host: '127.0.0.1', port, localAddress, localPort: own.localPort }
    const program = `require('net').connect(${JSON.stringify(options)}).on('close', process.exit)`
    const child = spawn(process.execPath, ['-e', program], { uid: NOBODY, gid: NOBODY, cwd: '/' })
    const [socket] = (await once(server, 'connection')) as [Socket]
    assert.equal(socket.remotePort, own.localPort)
    assert.equal(await new ClientUsers().userOf(socket), NOBODY, localAddress)
    socket.destroy()
    own.destroy()
    await once(child, 'close')
  }
})

async function listen(t: TestContext, host: string): Promise<{ server: Server; port: number }> {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => sockets.add(socket.on('error', () => {})))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { server, port: (server.address() as AddressInfo).port }
}
