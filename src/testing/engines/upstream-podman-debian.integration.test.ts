/** Podman 4 before real registries, with a node on its host. */
import { test } from 'node:test'
import { requireLab } from '../lab/lab-requirements.ts'
import { openPodmanClient } from '../lab/upstream-clients.ts'
import { proveEngine } from '../lab/upstream-proof.ts'
import { openUpstreamStage } from '../lab/upstream-stage.ts'

test('Podman 4 pulls any name through the node', async (t) => {
  if (!requireLab(t, ['root', 'network', 'busybox', 'docker-registry', 'podman'])) return
  await using stage = await openUpstreamStage()
  await proveEngine(t, stage, { open: async (place) => await openPodmanClient(place, 'debian') })
})
