/** The command line of `aquatint`: finds the command, runs it, and turns its result or error into output and an exit code. */

import packageJson from '../package.json' with { type: 'json' }
import { AquatintError, InputError, isAquatintError, serializeError } from '../src/errors.js'
import { commands } from './commands.js'
import type { CommandIO } from './output.js'
import type { Command } from './command.js'

const help = `Usage: aquatint <command> [options]

Aquatint runs published diffusers checkpoints in a web page. These commands inspect, convert and serve checkpoints.

${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`)
  .join('\n')}

  aquatint <command> --help   describe a command, its options and examples; also: aquatint help <command>
  --json                      print one JSON document on stdout instead of text, also for errors
  --version                   print the version of aquatint

Exit codes: 0 success, 1 failure, 2 wrong command line, 130 interrupted.
`

/** Runs the command line and returns the exit code. Ctrl-C ends it cleanly: complete files stay, and the next run resumes from them. */
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
  const ours = new Set(['--json', '--help', '-h'])
  const flags = new Set(args.slice(0, end).filter((arg) => ours.has(arg)))
  const [name, ...options] = args.filter((arg, i) => i >= end || !flags.has(arg))
  const json = flags.has('--json')
  const wantsHelp = flags.has('--help') || flags.has('-h')
  const print = (key: string, text: string) => io.stdout(json ? `${JSON.stringify({ ok: true, [key]: text }, null, 2)}\n` : text)
  try {
    if (name === '--version') {
      print('version', json ? packageJson.version : `${packageJson.version}\n`)
      return 0
    }
    if (name === 'help' || wantsHelp) {
      const topic = name === 'help' ? options[0] : name
      print('help', topic === undefined ? help : findCommand(topic).help)
      return 0
    }
    if (name === undefined && !json) {
      io.stdout(help)
      return 2
    }
    const command = findCommand(name)
    const result = await command.run(options, io, json)
    // `serve` returns nothing here, because it printed its document when the server was ready.
    if (json && result !== undefined) io.stdout(`${JSON.stringify({ ok: true, ...result }, null, 2)}\n`)
    return 0
  } catch (error) {
    return fail(error, io, json)
  }
}

/** @throws InputError `command` */
function findCommand(name: string | undefined): Command {
  const command = name !== undefined && Object.hasOwn(commands, name) ? commands[name] : undefined
  if (command !== undefined) return command
  const allowed = Object.keys(commands)
  throw new InputError(
    'command',
    `${name === undefined ? 'A command is needed' : `There is no command ${JSON.stringify(name)}`}; there are ${allowed.join(', ')}. See "aquatint --help".`,
    { command: name ?? null, allowed },
  )
}

function fail(error: unknown, io: CommandIO, json: boolean): number {
  const interrupted = io.signal.aborted
  const shown = interrupted ? new AquatintError('interrupted', 'Interrupted.') : error
  if (json) {
    const { kind, code, message, details } = serializeError(shown)
    // The code of the operating system, such as EACCES, is more precise than Aquatint's.
    const plain = isSystemError(shown)
      ? { kind, code: shown.code ?? code, message, details: { path: shown.path ?? null, syscall: shown.syscall ?? null } }
      : { kind, code, message, details }
    io.stdout(`${JSON.stringify({ ok: false, error: plain }, null, 2)}\n`)
  } else if (isAquatintError(shown) || isSystemError(shown)) io.stderr(`aquatint: ${shown.message}\n`)
  // An unexpected error is a bug in Aquatint, so show its stack.
  else io.stderr(`aquatint: ${shown instanceof Error ? (shown.stack ?? shown.message) : String(shown)}\n`)
  if (interrupted) return 130
  return error instanceof InputError ? 2 : 1
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error
}
