/** The error codes of the OCI Distribution API (distribution-spec, Error Codes) with their usual status. */
export const REGISTRY_ERRORS = {
  BLOB_UNKNOWN: { status: 404, message: 'blob unknown to registry' },
  BLOB_UPLOAD_INVALID: { status: 400, message: 'blob upload invalid' },
  BLOB_UPLOAD_UNKNOWN: { status: 404, message: 'blob upload unknown to registry' },
  DENIED: { status: 403, message: 'requested access to the resource is denied' },
  DIGEST_INVALID: { status: 400, message: 'provided digest did not match uploaded content' },
  MANIFEST_BLOB_UNKNOWN: {
    status: 404,
    message: 'manifest references a manifest or blob unknown to registry',
  },
  MANIFEST_INVALID: { status: 400, message: 'manifest invalid' },
  MANIFEST_UNKNOWN: { status: 404, message: 'manifest unknown to registry' },
  NAME_INVALID: { status: 400, message: 'invalid repository name' },
  NAME_UNKNOWN: { status: 404, message: 'repository name not known to registry' },
  SIZE_INVALID: { status: 400, message: 'provided length did not match content length' },
  TOOMANYREQUESTS: { status: 429, message: 'too many requests' },
  /** not of the spec, which has codes for 4xx only: what went wrong here is not the client's fault */
  UNKNOWN: { status: 500, message: 'the registry failed' },
  UNSUPPORTED: { status: 405, message: 'the operation is unsupported' },
} as const satisfies Record<string, { status: number; message: string }>

export type RegistryErrorCode = keyof typeof REGISTRY_ERRORS

/** The JSON body that registry clients read. `detail` says why: peers asked, what was found. */
export function registryErrorBody(code: RegistryErrorCode, detail?: unknown): string {
  const { message } = REGISTRY_ERRORS[code]
  return JSON.stringify({ errors: [{ code, message, ...(detail !== undefined && { detail }) }] })
}
