import { hold } from '../support/buffer-lender.ts'

const LINE_END = Buffer.from('\r\n')
const MAX_LINE_BYTES = 4096
// RFC 9112, 7.1: hex digits, then extensions that nobody here knows
const CHUNK_LINE = /^([0-9a-fA-F]{1,12})[\t ]*(?:;[\t\u0020-\u007e]*)?$/

/**
 * Takes the chunks of a body apart (RFC 9112, Chunked Transfer Coding); trailers are dropped.
 * @throws SyntaxError it is none, or it breaks off
 */
export async function* chunkedBody(
  next: () => Promise<Buffer | undefined>,
): AsyncGenerator<Buffer, void, void> {
  let rest: Buffer = Buffer.alloc(0)
  const more = async () => {
    const bytes = await next()
    if (!bytes) throw Object.assign(new Error('its body breaks off'), { code: 'ECONNRESET' })
    // several readers are given parts of it, and it is looked at between them: it is never released for good
    hold(bytes)
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
  }
  const line = async () => {
    for (;;) {
      const end = rest.indexOf(LINE_END)
      if (end >= 0) {
        const text = rest.toString('latin1', 0, end)
        rest = rest.subarray(end + LINE_END.length)
        return text
      }
      if (rest.length > MAX_LINE_BYTES) throw new SyntaxError('a line of its body has no end')
      await more()
    }
  }
  for (;;) {
    const size = CHUNK_LINE.exec(await line())
    if (!size) throw new SyntaxError('its body is not chunked as it says')
    let missing = Number.parseInt(size[1] ?? '', 16)
    if (missing === 0) break
    while (missing > 0) {
      if (rest.length === 0) await more()
      const bytes = rest.subarray(0, missing)
      missing -= bytes.length
      rest = rest.subarray(bytes.length)
      yield bytes
    }
    if ((await line()) !== '') throw new SyntaxError('its body is not chunked as it says')
  }
  while ((await line()) !== '');
}
