/** Where the parts of a message lie, so that it is changed part by part: bits alone seldom get past the first check. */

/** A part of a text, from its first character up to but without `end`. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** How messages of one kind are put together. Texts are latin1 where the parser reads bytes. */
export interface Grammar {
  /** the values, numbers and lengths in a message; of a broken one, as many as can be told */
  spansOf(text: string): Span[]
  /** what a value is replaced by: wrong kinds, edges of ranges, words that mean something elsewhere */
  readonly splinters: readonly string[]
  /** between two values that stand side by side */
  readonly joiner: string
  /** what nests a value in another: before it and after it */
  readonly nests: readonly (readonly [string, string])[]
  /** how many in 100 changes are made to any character, wherever it stands */
  readonly rawPercent: number
}

const HOSTILE_TEXTS = ['', '\0', '\x1b[2J', '__proto__', 'constructor', 'toString', 'x'.repeat(600)]

const HOSTILE_BENCODE = [
  ...'i1e i-1e i0e i-0e i01e i1.5e ie i+1e i255e i65536e i2147483648e'.split(' '),
  ...'i4294967295e i4294967296e i9007199254740991e i9007199254740992e'.split(' '),
  `i${'9'.repeat(30)}e`,
  ...'le de l0:e d1:ai1ee e l-3:e -1: -3: 01:x 9: 99999999:x +1:x 1.5:x'.split(' '),
  ...'d9:__proto__d1:ai1eee 9:__proto__i1e 8:toString1:x d8:toString1:xe 11:constructorde'.split(
    ' ',
  ),
  // A byte order mark, which some decoders of UTF-8 swallow: a key that is another one for them.
  ...'12:\xef\xbb\xbf__proto__d1:ai1ee 4:\xef\xbb\xbft1:x 8:\xef\xbb\xbftokeni1e 1:\xffi1e'.split(
    ' ',
  ),
  ...HOSTILE_TEXTS.map((text) => `${text.length}:${text}`),
]

export const BENCODE: Grammar = {
  spansOf: bencodeSpans,
  splinters: HOSTILE_BENCODE,
  joiner: '',
  nests: [
    ['l', 'e'],
    ['d1:a', 'e'],
  ],
  rawPercent: 25,
}

export const JSON_TEXT: Grammar = {
  spansOf: jsonSpans,
  splinters: [
    ...'0 -1 -0 1 0.5 64 65 65536 4294967296 1e21 1e308 1e999'.split(' '),
    ...'9007199254740991 9007199254740992 true false null {} [] [[]] {"a":1}'.split(' '),
    ...'{"__proto__":{"a":1}} {"toString":"x"} {"toJSON":1} {"length":300} "x":1 "a":{}'.split(' '),
    ...'"__proto__":{"digest":1} "__proto__":null "constructor":{"prototype":{}} "toString":1'.split(
      ' ',
    ),
    ...'"\\ud800" "\\udc00x" "\\u202egnp" "\\u0085" "\\ufeff" "\u2028" "😀"'.split(' '),
    ...HOSTILE_TEXTS.map((text) => JSON.stringify(text)),
    JSON.stringify(Array.from({ length: 300 }, () => 0)),
    JSON.stringify(Array.from({ length: 1100 }, () => ({}))),
    JSON.stringify('local/'.repeat(90)),
    JSON.stringify('local/'.repeat(8000)),
    JSON.stringify(`sha256:${'a'.repeat(64)}`),
    JSON.stringify(`sha256:${'A'.repeat(64)}\n`),
  ],
  joiner: ',',
  nests: [
    ['[', ']'],
    ['{"a":', '}'],
  ],
  rawPercent: 6,
}

/** Words and what is between them: names, invites, headers. */
export const WORDS: Grammar = {
  spansOf: (text) =>
    [...text.slice(0, 4096).matchAll(/[A-Za-z0-9]+|[^A-Za-z0-9]/g)].map(({ 0: word, index }) => ({
      start: index,
      end: index + word.length,
    })),
  splinters: [
    ...HOSTILE_TEXTS,
    ...'0,-1,65536,\r\n,\n, '.split(','),
    ...['9', 'a', 'A'].map((digit) => digit.repeat(64)),
    '9'.repeat(15),
    ...'/ // .. ../ . : @ - __ [::1] 127.0.0.1:1/ local/ node/x/ %00'.split(' '),
    ...'@sha256: \ud800 \u202e \xef\xbb\xbf = library/ İ'.split(' '),
    `sha256:${'b'.repeat(64)}`,
  ],
  joiner: '',
  nests: [
    ['local/', ''],
    ['', ':1'],
    ['node/n/', ''],
  ],
  rawPercent: 30,
}

const MAX_SPANS = 500
const LENGTH_AND_ID = 5

/** One message of the BitTorrent wire (BEP 3): length, kind, numbers of four bytes, perhaps bencode behind (BEP 10). */
export const WIRE_MESSAGE: Grammar = {
  spansOf: wireSpans,
  splinters: [
    ...'\0 \x01 \xff \x13 \x14 \0\0\0\0 \xff\xff\xff\xff \x7f\xff\xff\xff \x80\0\0\0'.split(' '),
    ...'\0\0\0\x01 \0\0@\0 \0\x02\0\0 \0\x10\0\0'.split(' '),
    '\0'.repeat(40),
    '\xff'.repeat(2000),
    ...HOSTILE_BENCODE,
  ],
  joiner: '',
  nests: BENCODE.nests,
  rawPercent: 30,
}

function wireSpans(text: string): Span[] {
  const spans: Span[] = [
    { start: 0, end: 4 },
    { start: 4, end: LENGTH_AND_ID },
  ]
  if (text.charCodeAt(4) === 20) {
    const payload = LENGTH_AND_ID + 1
    spans.push({ start: LENGTH_AND_ID, end: payload })
    for (const { start, end } of bencodeSpans(text.slice(payload)))
      spans.push({ start: start + payload, end: end + payload })
    return spans
  }
  for (let at = LENGTH_AND_ID; at + 4 <= Math.min(text.length, 64); at += 4)
    spans.push({ start: at, end: at + 4 })
  return spans
}

/** Values, pairs of key and value, lengths; nothing is taken for granted. */
function bencodeSpans(text: string): Span[] {
  const spans: Span[] = []
  const open: { start: number; isDictionary: boolean; count: number; keyAt: number }[] = []
  let at = 0
  const close = (start: number) => {
    spans.push({ start, end: at })
    const around = open.at(-1)
    if (!around) return
    if (around.isDictionary && around.count % 2 === 1) spans.push({ start: around.keyAt, end: at })
    else around.keyAt = start
    around.count += 1
  }
  while (at < text.length && spans.length < MAX_SPANS) {
    const start = at
    const kind = text[at]
    if (kind === 'd' || kind === 'l') {
      open.push({ start, isDictionary: kind === 'd', count: 0, keyAt: start })
      at += 1
      continue
    }
    if (kind === 'e') {
      at += 1
      const closed = open.pop()
      if (!closed) break
      close(closed.start)
      continue
    }
    const end = kind === 'i' ? text.indexOf('e', at) : text.indexOf(':', at)
    const digits = text.slice(kind === 'i' ? at + 1 : at, end)
    if (end < 0 || !/^-?\d{1,12}$/.test(digits)) break
    spans.push({ start: end - digits.length, end })
    at = Math.min(text.length, end + 1 + (kind === 'i' ? 0 : Math.max(0, Number(digits))))
    close(start)
  }
  return spans
}

/** Values, and pairs of key and value. */
function jsonSpans(text: string): Span[] {
  const spans: Span[] = []
  const open: number[] = []
  let key: Span | undefined
  const keys: (Span | undefined)[] = []
  for (const { 0: token, index } of text.matchAll(
    /"(?:[^"\\]|\\.)*"|[-\d][\d.eE+-]*|true|false|null|[[{\]}]/g,
  )) {
    if (spans.length > MAX_SPANS) break
    const end = index + token.length
    if (token === '[' || token === '{') {
      open.push(index)
      keys.push(key)
      key = undefined
      continue
    }
    const isEnd = token === ']' || token === '}'
    const start = isEnd ? open.pop() : index
    if (start === undefined) break
    spans.push({ start, end })
    if (!isEnd && text[end] === ':') {
      key = { start, end }
      continue
    }
    const named = isEnd ? keys.pop() : key
    if (named) spans.push({ start: named.start, end })
    key = undefined
  }
  return spans
}
