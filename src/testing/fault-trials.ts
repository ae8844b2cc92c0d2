import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { Config } from '../config/options.ts'
import { openFaultProxy, type FaultProxy } from './fault-proxy.ts'
import { FAULT_KINDS, type Fault, type FaultKind } from './faulty-answers.ts'
import { makeTestAuthority } from './lab/test-authority.ts'
import { openLayoutRegistry } from './layout-registry.ts'
import type { SeededRandom } from './seeded-random.ts'
import { writeLayout } from './testnet.ts'

/** A layer that moves by pieces, and one that moves in one answer; a config and a manifest are small too. */
const LAYER_SIZES = { blobs: [1024 * 1024 + 4321, 20_000], manifests: [20_000], all: [20_000] }
/** Nothing listens at the discard port. */
const NOWHERE = 'http://127.0.0.1:9'

/** One way of going wrong, tried on one image that was never pulled before. */
export interface FaultTrial {
  readonly fault: Fault
  readonly repository: string
  /** the image, as an OCI layout */
  readonly path: string
}

/** A registry that goes wrong in one way. */
export interface FaultStage {
  readonly kind: FaultKind
  readonly proxy: FaultProxy
  readonly trials: readonly FaultTrial[]
}

/** A registry for each kind of fault, and how a node is told of them all. */
export interface FaultStages extends AsyncDisposable {
  readonly config: Partial<Config>
  at(kind: FaultKind): FaultStage
}

/** Opens all registries; where a fault begins within a body is up to chance. */
export async function openFaultStages(dir: string, random: SeededRandom): Promise<FaultStages> {
  await using opening = new AsyncDisposableStack()
  const registry = opening.use(await openLayoutRegistry())
  const certificates = await makeCertificates(dir)
  const stages = new Map<FaultKind, FaultStage>()
  for (const kind of FAULT_KINDS) {
    const tls = kind === 'untrusted' && { tls: certificates }
    const proxy = opening.use(await openFaultProxy({ target: registry.address, ...tls }))
    const trials = trialsOf(kind, { dir, random })
    for (const { repository, fault, path } of trials) {
      await registry.add(repository, await writeLayout(path, LAYER_SIZES[fault.on]))
    }
    stages.set(kind, { kind, proxy, trials })
  }
  const opened = opening.move()
  const addressOf = (stage: FaultStage) => stage.proxy.address
  const [secure, plain] = [[stages.get('untrusted')], [...stages.values()]].map((some) =>
    some.filter((stage) => stage !== undefined).map(addressOf),
  )
  return {
    config: {
      upstream: true,
      upstreamCaFile: certificates.caFile,
      localUpstreams: secure ?? [],
      insecureUpstreams: (plain ?? []).filter((address) => !secure?.includes(address)),
    },
    at: (kind) => {
      const stage = stages.get(kind)
      assert.ok(stage)
      return stage
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

function trialsOf(
  kind: FaultKind,
  { dir, random }: { dir: string; random: SeededRandom },
): FaultTrial[] {
  // These are of the port, whatever is asked there.
  const isOfPort = kind === 'refused' || kind === 'untrusted'
  const places = isOfPort ? (['all'] as const) : (['blobs', 'manifests'] as const)
  return places.map((on) => ({
    fault: { kind, on, share: random.next(), location: NOWHERE },
    repository: `${kind}/${on}`,
    path: join(dir, 'images', kind, on),
  }))
}

async function makeCertificates(dir: string) {
  const [known, unknown] = [await makeTestAuthority(), await makeTestAuthority()]
  const caFile = join(dir, 'authority.pem')
  await writeFile(caFile, known.certificate)
  const contextOf = async (authority: typeof known) => {
    const { certificate, key } = await authority.issue()
    return { cert: certificate, key }
  }
  return { caFile, trusted: await contextOf(known), untrusted: await contextOf(unknown) }
}
