import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'

import { ERROR_CODES, OperationError, systemCodeOf, type ErrorCode } from '../errors.ts'
import { readControlLines } from './control-lines.ts'
import {
  MAX_SILENCE_MS,
  type ControlLine,
  type ErrorBody,
  type NodeOperations,
  type Operation,
  type OperationName,
} from './control-protocol.ts'
import { isNobodyListening, openSocketPath } from './control-socket.ts'

/** Every operation but those that a node may lack. */
type RunningNodeOperations = Required<NodeOperations>

/**
 * The operations of the node that runs with this data directory, as if it were here. Each call is one connection.
 * All of them throw OperationError NODE_NOT_RUNNING, NODE_UNREACHABLE (killed or silent), NODE_PERMISSION,
 * OPERATION_UNKNOWN (another version), NODE_FAILED, and what the node threw.
 */
export function connectNode(dataDir: string): RunningNodeOperations {
  const call =
    <Request, Result>(name: OperationName): Operation<Request, Result> =>
    async (body, { signal, report }) => {
      signal.throwIfAborted()
      try {
        await using socket = await openSocketPath(dataDir)
        const answer = await post({ path: socket.path, name, body, signal })
        for await (const line of readControlLines(answer)) {
          if (line.type === 'result') return line.result as Result
          if (line.type === 'error') throw errorOf(line.error)
          if (isProgress(line)) report(line)
        }
        throw new OperationError('NODE_UNREACHABLE', `the node ended before its answer to ${name}`)
      } catch (error) {
        signal.throwIfAborted()
        throw translate(error, dataDir)
      }
    }
  return {
    seed: call('seed'),
    seedAll: call('seedAll'),
    import: call('import'),
    pull: call('pull'),
    warm: call('warm'),
    torrent: call('torrent'),
    publish: call('publish'),
    unpublish: call('unpublish'),
    explain: call('explain'),
    list: call('list'),
    status: call('status'),
    peers: call('peers'),
    swarmId: call('swarmId'),
    swarmInvite: call('swarmInvite'),
    swarmRotate: call('swarmRotate'),
    swarmRevoke: call('swarmRevoke'),
    verify: call('verify'),
    gc: call('gc'),
  }
}

async function post({
  path,
  name,
  body,
  signal,
}: {
  path: string
  name: OperationName
  body: unknown
  signal: AbortSignal
}): Promise<IncomingMessage> {
  const posted = request({
    socketPath: path,
    path: `/v1/${name}`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    agent: false,
    signal,
  })
  posted.setTimeout(MAX_SILENCE_MS, () => {
    const seconds = MAX_SILENCE_MS / 1000
    posted.destroy(
      new OperationError('NODE_UNREACHABLE', `the node has said nothing for ${seconds} s`),
    )
  })
  posted.end(JSON.stringify(body))
  const [answer] = (await once(posted, 'response')) as [IncomingMessage]
  // an error after the answer began shows on the answer; without this it would end the process
  posted.on('error', (error) => answer.destroy(error))
  return answer
}

function isProgress(line: ControlLine): line is Extract<ControlLine, { state: unknown }> {
  return line.type === 'image' || line.type === 'blob' || line.type === 'node'
}

function errorOf({ code, message, details }: ErrorBody): OperationError {
  return new OperationError(isErrorCode(code) ? code : 'NODE_FAILED', message, { details })
}

function isErrorCode(code: string): code is ErrorCode {
  return (ERROR_CODES as readonly string[]).includes(code)
}

function translate(error: unknown, dataDir: string): unknown {
  if (error instanceof OperationError) return error
  if (isNobodyListening(error)) {
    return new OperationError('NODE_NOT_RUNNING', `no node runs with ${dataDir}`, {
      details: { dataDir },
      cause: error,
    })
  }
  const code = systemCodeOf(error)
  if (code === 'EACCES' || code === 'EPERM') {
    return new OperationError('NODE_PERMISSION', `${dataDir}: its node belongs to another user`, {
      details: { dataDir },
      cause: error,
    })
  }
  if (code === undefined) return error
  return new OperationError('NODE_UNREACHABLE', `the connection to the node broke (${code})`, {
    details: { dataDir },
    cause: error,
  })
}
