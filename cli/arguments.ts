/** Reading a command's arguments with Node's parseArgs, its complaints turned into errors that say what is allowed. */

import { parseArgs, type ParseArgsConfig } from 'node:util'
import { InputError } from '../src/errors.js'

/** Parsed arguments: the options given, and the one thing that the command works on. */
export interface ParsedArguments {
  readonly target: string
  /** The option's last value. */
  readonly text: (name: string) => string | undefined
  /** All values of an option that can be given more than once. */
  readonly list: (name: string) => readonly string[]
}

/** @throws InputError `arguments` */
export function readArguments(
  args: readonly string[],
  command: string,
  targetName: string,
  names: readonly string[],
): ParsedArguments {
  const options: ParseArgsConfig['options'] = Object.fromEntries(
    names.map((name) => [name, { type: 'string', multiple: true } as const]),
  )
  const wrong = (what: string, cause?: unknown) =>
    new InputError('arguments', `${what} See "aquatint ${command} --help".`, { command }, cause)
  let parsed: { values: Readonly<Record<string, unknown>>; positionals: readonly string[] }
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true })
  } catch (error) {
    const unknown = /Unknown option '([^']*)'/.exec(String(error))?.[1]
    const missing = /'(--[\w-]+) <value>' argument missing/.exec(String(error))?.[1]
    if (unknown !== undefined)
      throw wrong(
        `${command} has no option ${unknown}; it takes ${[...names.map((name) => `--${name}`), '--json'].join(', ')}.`,
        error,
      )
    if (missing !== undefined) throw wrong(`${missing} needs a value.`, error)
    throw wrong(error instanceof Error ? `${error.message}.` : String(error), error)
  }
  const [target, ...rest] = parsed.positionals
  if (target === undefined) throw wrong(`${command} needs a ${targetName}.`)
  if (rest.length > 0) throw wrong(`${command} takes one ${targetName}, but was also given ${JSON.stringify(rest[0])}.`)
  const list = (name: string) => (parsed.values[name] ?? []) as readonly string[]
  return { target, list, text: (name) => list(name).at(-1) }
}
