import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Answers a request, such as `GET /images/json`; without an answer for it the engine says 404. */
export type FakeAnswers = Readonly<
  Record<string, (request: IncomingMessage, response: ServerResponse) => unknown>
>

/** An engine for tests: HTTP on a socket file, with answers that the test gives. */
export interface FakeEngine extends AsyncDisposable {
  /** as DOCKER_HOST */
  readonly host: string
  /** method and URL of each request so far, without those of connecting */
  readonly requests: string[]
  /** Ends every connection, and takes no more until it is started again. */
  stop(): Promise<void>
  start(): Promise<void>
}

/** @param answers merged over those of an empty engine with the classic store */
export async function startFakeEngine(answers: FakeAnswers = {}): Promise<FakeEngine> {
  const folder = await mkdtemp(join(tmpdir(), 'ddocker-engine-'))
  const path = join(folder, 'docker.sock')
  const requests: string[] = []
  const all: FakeAnswers = { ...EMPTY_ENGINE, ...answers }
  const server = createServer((request, response) => {
    const { method, url = '' } = request
    const place = `${method} ${url.split('?')[0]}`
    if (!(place in EMPTY_ENGINE)) requests.push(`${method} ${url}`)
    const answer = all[place]
    if (answer) answer(request, response)
    else answerJson(response, { message: `no such image: ${url}` }, 404)
  })
  const start = async () => {
    await new Promise<void>((resolve) => server.listen(path, resolve))
  }
  const stop = async () => {
    if (!server.listening) return
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  await start()
  return {
    host: `unix://${path}`,
    requests,
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await stop()
      await rm(folder, { recursive: true })
    },
  }
}

/** Sends a JSON answer. */
export function answerJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

const EMPTY_ENGINE: FakeAnswers = {
  'GET /version': (_request, response) => answerJson(response, { ApiVersion: '1.41' }),
  'GET /info': (_request, response) =>
    answerJson(response, {
      ServerVersion: '20.10.24',
      Driver: 'overlay2',
      DriverStatus: [['Backing Filesystem', 'extfs']],
      DockerRootDir: '/nowhere',
      ID: 'ABCD',
    }),
}
