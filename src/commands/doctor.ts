import { loadConfig } from '../config/load-config.ts'
import type { Config } from '../config/options.ts'
import { connectNode } from '../control/control-client.ts'
import { messageOf, OperationError } from '../errors.ts'
import type { NodeStatus } from '../status/node-status.ts'
import type { Command, Invocation } from './command.ts'
import { CHECKS, type CheckResult, type NamedCheck, type Patient } from './doctor-checks.ts'
import { checkMirrors } from './mirror-check.ts'
import { withoutProgress } from './node-access.ts'
import { printable } from './table.ts'
import { count } from './wording.ts'

type Finding = { readonly name: string } & CheckResult

const COLOURS = { ok: 'green', warn: 'yellow', fail: 'red' } as const

/** Looks at everything a node needs, from the ground up, and says how to mend what is wrong. */
export const doctor: Command = async (invocation) => {
  const { output, signal } = invocation
  const patient = await examine(invocation)
  const findings: Finding[] = []
  for (const check of CHECKS) {
    signal.throwIfAborted()
    const found = await look(check, patient)
    if (found) findings.push({ name: check.name, ...found })
  }
  const mirror = await look({ name: 'mirror', look: () => checkMirrors(invocation) }, patient)
  if (mirror) findings.push({ name: 'mirror', ...mirror })
  const failures = findings.filter(({ result }) => result === 'fail').length
  output.answer({ healthy: failures === 0, checks: findings }, () => render(findings, output))
  return failures === 0 ? 0 : 1
}

async function examine({ flags, host, signal }: Invocation): Promise<Patient> {
  const [config, configError] = await attempt<Config>(() => loadConfig(flags, host))
  const [node, nodeError] = config
    ? await attempt(
        () =>
          withoutProgress(
            { signal },
            connectNode(config.dataDir).status,
            {},
          ) as Promise<NodeStatus>,
      )
    : [undefined, undefined]
  const nodeVersion = process.versions.node
  return { config, configError, node, nodeError, nodeVersion, nowMs: Date.now(), signal }
}

async function attempt<Value>(
  work: () => Promise<Value>,
): Promise<[Value, undefined] | [undefined, OperationError]> {
  try {
    return [await work(), undefined]
  } catch (error) {
    if (error instanceof OperationError && error.code !== 'INTERRUPTED') return [undefined, error]
    throw error
  }
}

/** A check that breaks is a finding too, and the others go on. */
async function look(check: NamedCheck, patient: Patient): Promise<CheckResult | undefined> {
  try {
    return await check.look(patient)
  } catch (error) {
    patient.signal.throwIfAborted()
    return { result: 'warn', message: `could not look: ${messageOf(error)}` }
  }
}

function render(findings: readonly Finding[], output: Invocation['output']): string {
  const width = Math.max(...findings.map(({ name }) => name.length)) + 2
  const lines = findings.flatMap(({ name, result, message, hint }) => [
    `${output.coloured(COLOURS[result], result.padEnd(4))}  ${name.padEnd(width)}${printable(message)}`,
    ...(hint === undefined ? [] : [`${' '.repeat(width + 6)}hint: ${hint}`]),
  ])
  return [...lines, '', verdict(findings)].join('\n')
}

function verdict(findings: readonly Finding[]): string {
  const failures = findings.filter(({ result }) => result === 'fail').length
  const warnings = findings.filter(({ result }) => result === 'warn').length
  if (failures > 0) return `${count(failures, 'check')} failed`
  return warnings > 0 ? `it works, with ${count(warnings, 'remark')}` : 'all is well'
}
