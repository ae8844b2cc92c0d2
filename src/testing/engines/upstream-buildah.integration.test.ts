/** buildah before real registries, with a node on its host. */
import { test } from 'node:test'
import { requireLab } from '../lab/lab-requirements.ts'
import { openBuildahClient } from '../lab/upstream-clients.ts'
import { proveEngine } from '../lab/upstream-proof.ts'
import { openUpstreamStage } from '../lab/upstream-stage.ts'

test('buildah builds FROM any name through the node', async (t) => {
  if (!requireLab(t, ['root', 'network', 'busybox', 'docker-registry', 'buildah'])) return
  await using stage = await openUpstreamStage()
  await proveEngine(t, stage, { open: openBuildahClient, isLikeAnother: true })
})
