/** `aquatint` on the command line: finds the command, runs it, and turns what happens into output and an exit code. */

import { AquatintError, InputError, isAquatintError, serializeError } from '../src/errors.js'
import { commands } from './commands.js'
import type { CommandIO } from './output.js'

const help = `Usage: aquatint <command> [options]

Aquatint runs diffusers checkpoints in a web page, as they are published. These commands prepare and look at checkpoints.

${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`)
  .join('\n')}

  aquatint <command> --help   what the command does, its options, examples
  --json                      one JSON document on stdout instead of text, errors too

Exit codes: 0 it worked, 1 it failed, 2 the command line is wrong, 130 interrupted.
`

/** Runs the command line and returns the exit code. Ctrl-C ends it in order: what was written whole stays, and can be gone on with. */
export async function main(args: readonly string[], io?: CommandIO): Promise<number> {
  if (io !== undefined) return runCommand(args, io)
  const controller = new AbortController()
  const abort = () => controller.abort()
  process.once('SIGINT', abort)
  process.once('SIGTERM', abort)
  try {
    return await runCommand(args, {
      stdout: (text) => process.stdout.write(text),
      stderr: (text) => process.stderr.write(text),
      isTerminal: process.stderr.isTTY,
      columns: process.stderr.columns ?? 80,
      signal: controller.signal,
    })
  } finally {
    process.off('SIGINT', abort)
    process.off('SIGTERM', abort)
  }
}

async function runCommand(args: readonly string[], io: CommandIO): Promise<number> {
  const end = args.includes('--') ? args.indexOf('--') : args.length
  const flags = new Set<string>(args.slice(0, end).filter((arg) => arg === '--json' || arg === '--help' || arg === '-h'))
  const rest = args.filter((arg, i) => i >= end || !flags.has(arg))
  const json = flags.has('--json')
  const wantsHelp = flags.has('--help') || flags.has('-h')
  try {
    const [name, ...options] = rest
    if (name === undefined || name === 'help') {
      io.stdout(help)
      return name === undefined && !wantsHelp ? 2 : 0
    }
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (command === undefined)
      throw new InputError(
        'command',
        `There is no command ${JSON.stringify(name)}; there are ${Object.keys(commands).join(', ')}. See "aquatint --help".`,
        {
          command: name,
          allowed: Object.keys(commands),
        },
      )
    if (wantsHelp) {
      io.stdout(command.help)
      return 0
    }
    const result = await command.run(options, io, json)
    // What runs until it is ended (serve) has said its own.
    if (json && result !== undefined) io.stdout(`${JSON.stringify({ ok: true, ...result }, null, 2)}\n`)
    return 0
  } catch (error) {
    return fail(error, io, json)
  }
}

function fail(error: unknown, io: CommandIO, json: boolean): number {
  const interrupted = io.signal.aborted
  const shown = interrupted ? new AquatintError('interrupted', 'Interrupted.') : error
  if (json) {
    const { kind, code, message, details } = serializeError(shown)
    io.stdout(`${JSON.stringify({ ok: false, error: { kind, code, message, details } }, null, 2)}\n`)
  } else if (isAquatintError(shown) || isSystemError(shown)) io.stderr(`aquatint: ${shown.message}\n`)
  // What nobody foresaw is shown with its stack: it is ours to mend.
  else io.stderr(`aquatint: ${shown instanceof Error ? (shown.stack ?? shown.message) : String(shown)}\n`)
  if (interrupted) return 130
  return error instanceof InputError ? 2 : 1
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error
}
