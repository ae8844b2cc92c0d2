import { OperationError } from '../errors.ts'
import { MAX_LINE_BYTES, type ControlLine } from './control-protocol.ts'

const NEWLINE = 0x0a

/**
 * The lines of an answer as they come.
 * @throws OperationError NODE_UNREACHABLE: not one of our lines, or one that does not end
 */
export async function* readControlLines(
  chunks: AsyncIterable<Buffer>,
  maxBytes = MAX_LINE_BYTES,
): AsyncGenerator<ControlLine> {
  let parts: Buffer[] = []
  let bytes = 0
  for await (let chunk of chunks) {
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE)) {
      yield parseLine(Buffer.concat([...parts, chunk.subarray(0, end)]))
      chunk = chunk.subarray(end + 1)
      parts = []
      bytes = 0
    }
    bytes += chunk.length
    if (bytes > maxBytes) throw foreign(`a line of more than ${maxBytes} bytes`)
    parts.push(chunk)
  }
}

function parseLine(bytes: Buffer): ControlLine {
  try {
    const line: unknown = JSON.parse(bytes.toString('utf8'))
    if (typeof line === 'object' && line !== null && 'type' in line) return line as ControlLine
  } catch {
    // told below, with what was found
  }
  throw foreign(`"${bytes.toString('utf8', 0, 100)}"`)
}

function foreign(found: string): OperationError {
  return new OperationError(
    'NODE_UNREACHABLE',
    `control socket: wanted the answer of a ddocker node, found ${found}`,
  )
}
