/** The classic Docker before real registries: its mirror is the node, for docker.io only. */
import { test } from 'node:test'
import { requireLab } from '../lab/lab-requirements.ts'
import { openGdClient } from '../lab/upstream-clients.ts'
import { proveBuilds, proveEngine } from '../lab/upstream-proof.ts'
import { openUpstreamStage } from '../lab/upstream-stage.ts'
import type { StageRegistry } from '../lab/upstream-stage.ts'

/** Other registries than docker.io have a name that leads through the node. */
function nameOf(registry: StageRegistry, repository: string): string {
  const name = `${registry}/${repository}:1`
  return registry === 'docker.io' ? name : `127.0.0.1:5151/${name}`
}

test('a classic Docker pulls and builds through the node', async (t) => {
  if (!requireLab(t, ['root', 'network', 'busybox', 'docker-registry', 'docker-gd'])) return
  await using stage = await openUpstreamStage()
  await proveEngine(t, stage, {
    open: openGdClient,
    nameOf,
    direct: ['docker.io'],
    lacks: ['zstd'],
    also: proveBuilds,
  })
})
