import { isOperationError } from '../errors.ts'
import { checkBuildkit } from './check-buildkit.ts'
import { checkContainerd } from './check-containerd.ts'
import { checkDocker } from './check-docker.ts'
import { checkPodman } from './check-podman.ts'
import { state, type CheckContext, type EngineState } from './engine-check.ts'
import type { EngineName } from './engine-plan.ts'

const CHECKS: Readonly<Record<EngineName, (context: CheckContext) => Promise<EngineState>>> = {
  docker: checkDocker,
  containerd: checkContainerd,
  podman: checkPodman,
  buildkit: checkBuildkit,
}

/** Looks at each engine; one that cannot be looked at is a finding, and the others go on. */
export async function checkMirror(
  engines: readonly EngineName[],
  context: CheckContext,
): Promise<EngineState[]> {
  return await Promise.all(
    engines.map(async (engine) => {
      try {
        return await CHECKS[engine](context)
      } catch (error) {
        context.signal.throwIfAborted()
        if (!isOperationError(error, 'MIRROR_FILE_INVALID')) throw error
        return state(engine, 'missed', error.message, { hint: 'Mend the file.' })
      }
    }),
  )
}
