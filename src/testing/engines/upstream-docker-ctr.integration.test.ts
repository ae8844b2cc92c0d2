/** A current Docker before real registries: any name goes through the node. */
import { test } from 'node:test'
import { requireLab } from '../lab/lab-requirements.ts'
import { openCtrClient } from '../lab/upstream-clients.ts'
import { proveBuilds, proveEngine } from '../lab/upstream-proof.ts'
import { openUpstreamStage } from '../lab/upstream-stage.ts'

test('a current Docker pulls and builds through the node', async (t) => {
  if (!requireLab(t, ['root', 'network', 'busybox', 'docker-registry', 'docker-ctr'])) return
  await using stage = await openUpstreamStage()
  await proveEngine(t, stage, {
    open: openCtrClient,
    also: proveBuilds,
  })
})
