/** Plain Node HTTP: a file is streamed from one process into a file of the other. Nothing is checked. */
import { createReadStream, createWriteStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer, get, type IncomingMessage } from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

import { lineOptions, obeyLines } from './line-orders.ts'

const CHUNK_BYTES = 256 * 1024

const { role, directory, name, host, port } = lineOptions()
const path = join(directory, name)
let sent = 0

if (role === 'seed') {
  const { size } = await stat(path)
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': size })
    const content = createReadStream(path, { highWaterMark: CHUNK_BYTES })
    content.on('data', (chunk) => (sent += chunk.length))
    void pipeline(content, response)
  })
  server.listen(port, host)
  await once(server, 'listening')
}

await obeyLines({
  sentBytes: () => sent,
  fetch: async ([seed = '']) => {
    const [response] = (await once(get(`http://${seed}/`), 'response')) as [IncomingMessage]
    await pipeline(response, createWriteStream(path, { highWaterMark: CHUNK_BYTES }))
  },
})
