import { Command as Parser, CommanderError, Option } from 'commander'

import { readHostFacts, type HostFacts } from '../config/host-facts.ts'
import type { Flags } from '../config/load-config.ts'
import { OPTION_KEYS, OPTIONS, type Config } from '../config/options.ts'
import { messageOf, OperationError } from '../errors.ts'
import { VERSION } from '../version.ts'
import { COMMANDS, type CommandGroup } from './command-list.ts'
import type { Command } from './command.ts'
import type { NodeModule } from './node-module.ts'
import { Output, type TextStream } from './output.ts'

/** A command line and the world around it. */
export interface ProgramOptions {
  /** without the program itself */
  readonly argv: readonly string[]
  readonly stdout: TextStream
  readonly stderr: TextStream
  readonly signal: AbortSignal
  readonly loadNode: () => Promise<NodeModule>
  readonly host?: HostFacts
}

type CommandDefinition = Exclude<(typeof COMMANDS)[number], CommandGroup>

/** What was chosen by parsing; it runs after the parser is done. */
interface Chosen {
  readonly command: Command
  readonly operands: readonly string[]
  readonly flags: Flags
}

const NODE_OPTIONS: Readonly<
  Record<NonNullable<CommandDefinition['nodeOptions']>, readonly (keyof Config)[]>
> = {
  all: OPTION_KEYS,
  swarm: ['swarm', 'swarmKeyFile'],
  door: ['registry', 'dockerHost'],
}

/**
 * Runs one command line from its words to its exit code: 0 done, 1 failed, 2 usage, 3 done in part,
 * 130 interrupted. Throws nothing that is not a mistake in ddocker itself.
 */
export async function runProgram(options: ProgramOptions): Promise<number> {
  const { argv, stdout, stderr, signal, loadNode, host = readHostFacts() } = options
  const output = new Output({
    stdout,
    stderr,
    // known before parsing: a usage error is told in the same form
    isJson: argv.includes('--json'),
    isQuiet: argv.includes('--quiet') || argv.includes('-q'),
    hasColours: !host.environment['NO_COLOR'] && host.environment['TERM'] !== 'dumb',
  })
  try {
    const chosen = await parse(argv, output)
    if (!chosen) return 0
    const { command, operands, flags } = chosen
    return await command({ operands, flags, output, signal, host, loadNode })
  } catch (error) {
    const failure = asOperationError(signal.aborted ? signal.reason : error)
    output.failure(failure)
    return failure.exitCode
  }
}

/** @returns undefined where help or version was asked for, and printed */
async function parse(argv: readonly string[], output: Output): Promise<Chosen | undefined> {
  let chosen: Chosen | undefined
  const parser = makeParser(output, (choice) => {
    chosen = choice
  })
  try {
    await parser.parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return undefined
    throw usageError(error)
  }
  return chosen
}

function makeParser(output: Output, choose: (choice: Chosen) => void): Parser {
  const parser = new Parser('ddocker')
    .description('Distributed Docker: pull any image that any Docker host holds, over BitTorrent.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help for a command')
    .helpCommand('help [command]', 'print help for a command')
    .addOption(optionOf('dataDir'))
    .option('--json', 'answer with one JSON document on stdout')
    .option('-q, --quiet', 'no progress and no remarks')
    .addHelpText('after', HELP_END)
  prepare(parser, output)
  for (const definition of COMMANDS) addCommand(parser, { definition, output, choose })
  return parser
}

const HELP_END = `
A command talks to the running node of its data directory.
Start with \`ddocker demo\`, then \`ddocker serve\`; \`ddocker <command> --help\` tells more.`

/** Errors are thrown, not printed, and help goes where the answer goes. */
function prepare(parser: Parser, output: Output): void {
  parser
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.stdout.write(text),
      writeErr: (text) => output.stderr.write(text),
      outputError: () => undefined,
      getOutHelpWidth: () => Math.min(output.stdout.columns ?? 100, 110),
      getErrHelpWidth: () => Math.min(output.stderr.columns ?? 100, 110),
    })
    .configureHelp({ showGlobalOptions: true, visibleGlobalOptions: globalOptionsOf })
}

/** Those that mean something below the program itself. */
function globalOptionsOf({ parent }: Parser): Option[] {
  if (!parent) return []
  const own = parent.options.filter(({ long }) => long !== '--version')
  return [...own, ...globalOptionsOf(parent)]
}

function addCommand(
  parent: Parser,
  context: {
    definition: (typeof COMMANDS)[number]
    output: Output
    choose: (choice: Chosen) => void
  },
): void {
  const { definition, output, choose } = context
  const command = parent.command(definition.usage).summary(definition.summary)
  command.helpGroup(definition.group).helpOption('-h, --help', 'print this help')
  prepare(command, output)
  if ('commands' in definition) {
    command.description(sentence(definition.summary)).helpCommand(false)
    for (const inner of definition.commands) {
      addCommand(command, { definition: { ...inner, group: 'Commands:' }, output, choose })
    }
    return
  }
  describe(command, definition)
  command.action(async () => {
    choose({
      command: await definition.load(),
      operands: command.args,
      flags: command.optsWithGlobals(),
    })
  })
}

function describe(command: Parser, definition: CommandDefinition): void {
  const { summary, description, flags = [], nodeOptions, examples = [] } = definition
  command.description(description ? `${sentence(summary)}\n\n${description}` : sentence(summary))
  for (const { flags: written, help, defaultValue } of flags) {
    command.option(written, help, defaultValue)
  }
  for (const key of nodeOptions ? NODE_OPTIONS[nodeOptions] : []) {
    if (key !== 'dataDir') command.addOption(optionOf(key).helpGroup('Node options:'))
  }
  if (examples.length > 0) {
    command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  $ ${line}`).join('\n')}`)
  }
}

/** An option of the node as a flag; its value stays the text that was written. */
function optionOf(key: keyof Config): Option {
  const definition = OPTIONS[key]
  const { name, placeholder, help, defaultText, isList } = definition
  const option = new Option(`--${name} ${placeholder}`, `${help} (default: ${defaultText})`)
  if (isList) {
    option.argParser((text: string, earlier: string[] | undefined) => [...(earlier ?? []), text])
  }
  return option
}

function sentence(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`
}

/** `error: unknown option '--x'\n(Did you mean --y?)` in one line; help without a command is a usage error too. */
function usageError({ message, code }: CommanderError): OperationError {
  if (code === 'commander.help') return new OperationError('USAGE', 'wanted a command, found none')
  const text = message.replace(/^error: /, '').replaceAll('\n', ' ')
  return new OperationError('USAGE', text)
}

function asOperationError(thrown: unknown): OperationError {
  if (thrown instanceof OperationError) return thrown
  const stack = thrown instanceof Error ? thrown.stack : undefined
  return new OperationError('NODE_FAILED', stack ?? messageOf(thrown), { cause: thrown })
}
