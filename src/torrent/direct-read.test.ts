import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import {
  connect as connectTls,
  createSecureContext,
  TLSSocket,
  type TlsOptions,
  type TLSSocketOptions,
} from 'node:tls'

import { readDirectly } from './direct-read.ts'

const MIB = 1024 * 1024
const PSK = randomBytes(32)
const CIPHER = { ciphers: 'TLS_AES_128_GCM_SHA256' }

for (const kind of ['plain', 'encrypted'] as const) {
  for (const reader of ['dialed', 'accepted'] as const) {
    test(`all bytes of ${kind} sockets that were ${reader} come by one buffer, and their end`, async () => {
      await using stack = new AsyncDisposableStack()
      const { dialed, accepted } = await openPair(stack, { isEncrypted: kind === 'encrypted' })
      const [from, to] = reader === 'dialed' ? [accepted, dialed] : [dialed, accepted]
      const sent = randomBytes(2 * MIB)
      from.end(sent)
      const { hash, strays } = await readToEnd(to)
      assert.equal(hash, createHash('sha1').update(sent).digest('hex'))
      assert.equal(strays, 0)
    })
  }
}

test('a stream that is no socket goes on as before', () => {
  const other = new PassThrough() as unknown as Socket
  assert.equal(
    readDirectly(other, Buffer.alloc(16), () => {}),
    false,
  )
})

async function readToEnd(socket: Socket): Promise<{ hash: string; strays: number }> {
  const hash = createHash('sha1')
  const buffer = Buffer.allocUnsafeSlow(64 * 1024)
  let strays = 0
  socket.on('data', () => (strays += 1))
  const isDirect = readDirectly(socket, buffer, (bytes) => {
    if (bytes.buffer !== buffer.buffer) strays += 1
    hash.update(bytes)
  })
  assert.ok(isDirect, 'this Node has other members than the one it was written for')
  await once(socket, 'end')
  return { hash: hash.digest('hex'), strays }
}

async function openPair(
  stack: AsyncDisposableStack,
  { isEncrypted }: { isEncrypted: boolean },
): Promise<{ dialed: Socket; accepted: Socket }> {
  const server = stack.adopt(createServer().listen(0, '127.0.0.1'), (it) => void it.close())
  await once(server, 'listening')
  const to = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const connected = once(server, 'connection')
  const dialed = isEncrypted
    ? connectTls({ ...to, ...CIPHER, pskCallback: () => ({ identity: 'a', psk: PSK }) })
    : connect(to)
  stack.defer(() => void dialed.destroy())
  const ready = once(dialed, isEncrypted ? 'secureConnect' : 'connect')
  const [socket] = (await connected) as [Socket]
  const options: TLSSocketOptions & Pick<TlsOptions, 'pskCallback'> = {
    isServer: true,
    secureContext: createSecureContext(CIPHER),
    pskCallback: () => PSK,
  }
  const accepted = isEncrypted ? new TLSSocket(socket, options) : socket
  stack.defer(() => void accepted.destroy())
  await ready
  return { dialed, accepted }
}
