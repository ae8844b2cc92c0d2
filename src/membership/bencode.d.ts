declare module 'bencode' {
  /** BEP 3 encoding; keys are sorted. Numbers must be whole. */
  function encode(value: unknown): Uint8Array
  /** Strings come back as Uint8Array; throws on anything malformed. */
  function decode(bytes: Uint8Array): unknown
  const bencode: { encode: typeof encode; decode: typeof decode }
  export default bencode
}
