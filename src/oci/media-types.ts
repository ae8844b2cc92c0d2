/** Media types of images (image-spec, media-types.md; Docker Image Manifest V2, Schema 2). */
export const MEDIA_TYPES = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerManifestList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  octetStream: 'application/octet-stream',
} as const

const IMAGE_MANIFESTS: ReadonlySet<string> = new Set([
  MEDIA_TYPES.ociManifest,
  MEDIA_TYPES.dockerManifest,
])
const IMAGE_INDEXES: ReadonlySet<string> = new Set([
  MEDIA_TYPES.ociIndex,
  MEDIA_TYPES.dockerManifestList,
])

/** A manifest of one image. */
export function isImageManifestType(mediaType: string): boolean {
  return IMAGE_MANIFESTS.has(mediaType)
}

/** A list of manifests. */
export function isImageIndexType(mediaType: string): boolean {
  return IMAGE_INDEXES.has(mediaType)
}

/** Content that is asked for under /manifests/, not /blobs/. */
export function isManifestType(mediaType: string): boolean {
  return isImageManifestType(mediaType) || isImageIndexType(mediaType)
}
