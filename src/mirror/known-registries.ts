/**
 * Registries that engines without a catch-all are told of one by one. containers/image has wildcards for
 * subdomains, but a mirror of a wildcard is not told which host was meant.
 */
export const KNOWN_REGISTRIES: readonly string[] = [
  'docker.io',
  'ghcr.io',
  'quay.io',
  'registry.k8s.io',
  'gcr.io',
  'mcr.microsoft.com',
  'public.ecr.aws',
  'registry.gitlab.com',
  'registry.fedoraproject.org',
  'registry.access.redhat.com',
  'registry.redhat.io',
  'docker.elastic.co',
  'nvcr.io',
  'lscr.io',
]
