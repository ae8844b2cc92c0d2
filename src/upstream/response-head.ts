/** The head of an answer, as far as it is needed. */
export interface ResponseHead {
  readonly status: number
  /** by lower-case name; several values of one name as they came */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** bytes up to the body */
  readonly length: number
  /** whether another request may follow on the connection */
  readonly isKept: boolean
  /** of the body; undefined where its end is told by other means */
  readonly contentLength: number | undefined
}

const END = Buffer.from('\r\n\r\n')
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\u0020-\u007e\u0080-\u00ff]*)?$/
// RFC 9110, 5.1 and 5.5; a line that is folded begins with a blank and does not match
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\u0020-\u007e\u0080-\u00ff]*?)[\t ]*$/

/**
 * Reads the head of an answer (RFC 9112), informational ones left out. Strict: what two readers could take for two
 * things is refused.
 * @returns undefined where more bytes are needed
 * @throws SyntaxError it is not HTTP/1.1
 */
export function readResponseHead(bytes: Buffer): ResponseHead | undefined {
  let start = 0
  for (;;) {
    const end = bytes.indexOf(END, start)
    if (end < 0) return undefined
    const head = parseHead(bytes.toString('latin1', start, end), end + END.length)
    if (head.status >= 200) return head
    start = head.length
  }
}

function parseHead(text: string, length: number): ResponseHead {
  const [first = '', ...lines] = text.split('\r\n')
  const status = STATUS_LINE.exec(first)
  if (!status) throw new SyntaxError('its first line is no status line')
  const headers: Record<string, string | string[]> = Object.create(null) as Record<string, string>
  for (const line of lines) {
    const field = FIELD.exec(line)
    if (!field) throw new SyntaxError('one of its header lines is none')
    const [, name = '', value = ''] = field
    const key = name.toLowerCase()
    const known = headers[key]
    headers[key] = known === undefined ? value : [known, value].flat()
  }
  return {
    status: Number(status[2]),
    headers,
    length,
    isKept: status[1] === '1' && !/close/i.test(String(headers['connection'] ?? '')),
    contentLength: contentLengthOf(headers),
  }
}

function contentLengthOf(headers: ResponseHead['headers']): number | undefined {
  const value = headers['content-length']
  if (headers['transfer-encoding'] !== undefined || value === undefined) return undefined
  if (typeof value !== 'string' || !/^\d{1,15}$/.test(value)) {
    throw new SyntaxError('its Content-Length is not a number of bytes')
  }
  return Number(value)
}
