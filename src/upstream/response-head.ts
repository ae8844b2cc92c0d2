/** The head of an answer, as far as it is needed. */
export interface ResponseHead {
  readonly status: number
  /** by lower-case name; several values of one name as they came */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** bytes up to the body */
  readonly length: number
  /** whether another request may follow on the connection */
  readonly isKept: boolean
  /** of the body on the wire; Infinity where its end is told by other means */
  readonly bodyLength: number
  readonly isChunked: boolean
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
  const code = Number(status[2])
  const bodyLength = code === 204 || code === 304 ? 0 : bodyLengthOf(headers)
  return {
    status: code,
    headers,
    length,
    isKept: bodyLength !== Infinity && status[1] === '1' && !isClosing(headers),
    bodyLength,
    isChunked: headers['transfer-encoding'] !== undefined,
  }
}

function isClosing(headers: ResponseHead['headers']): boolean {
  return /close/i.test(String(headers['connection'] ?? ''))
}

/** RFC 9112, 6.3. */
function bodyLengthOf(headers: ResponseHead['headers']): number {
  const { 'content-length': value, 'transfer-encoding': coding } = headers
  if (coding !== undefined) {
    if (value !== undefined) throw new SyntaxError('it has both a Content-Length and chunks')
    if (String(coding).toLowerCase() !== 'chunked')
      throw new SyntaxError('its transfer coding is unknown')
    return Infinity
  }
  if (value === undefined) return Infinity
  if (typeof value !== 'string' || !/^\d{1,15}$/.test(value)) {
    throw new SyntaxError('its Content-Length is not a number of bytes')
  }
  return Number(value)
}
