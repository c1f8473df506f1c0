/** Reads a command's arguments with Node's parseArgs, and turns its errors into errors that say what is allowed. */

import { parseArgs, type ParseArgsConfig } from 'node:util'
import { InputError } from '../src/errors.js'

/** The arguments that a command takes. */
export interface ArgumentNames {
  /** The name of the command's one positional argument, for messages. */
  readonly target: string
  /** Options with one value. */
  readonly texts?: readonly string[]
  /** Options with a value that may be given more than once. */
  readonly lists?: readonly string[]
  /** Options without a value. */
  readonly flags?: readonly string[]
}

/** Parsed arguments. */
export interface ParsedArguments {
  readonly target: string
  readonly text: (name: string) => string | undefined
  readonly list: (name: string) => readonly string[]
  readonly flag: (name: string) => boolean
}

/** Parses the arguments that follow `aquatint <command>`. @throws InputError `arguments` */
export function readArguments(args: readonly string[], command: string, names: ArgumentNames): ParsedArguments {
  const { target: targetName, texts = [], lists = [], flags = [] } = names
  const all = [...texts, ...lists, ...flags]
  const options: ParseArgsConfig['options'] = Object.fromEntries(
    all.map((name) => [name, { type: flags.includes(name) ? 'boolean' : 'string', multiple: true } as const]),
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
        `${command} has no option ${unknown}; it takes ${[...all.map((name) => `--${name}`), '--json'].join(', ')}.`,
        error,
      )
    if (missing !== undefined) throw wrong(`${missing} needs a value.`, error)
    throw wrong(error instanceof Error ? `${error.message}.` : String(error), error)
  }
  const list = (name: string) => (parsed.values[name] ?? []) as readonly string[]
  // Taking the first or the last of two values would often be wrong, so two values are refused.
  const twice = texts.find((name) => list(name).length > 1)
  if (twice !== undefined) throw wrong(`--${twice} is given as ${list(twice).join(' and ')}; it takes one value.`)
  const [target, ...rest] = parsed.positionals
  if (target === undefined) throw wrong(`${command} needs a ${targetName}.`)
  if (rest.length > 0) throw wrong(`${command} takes one ${targetName}, but was also given ${JSON.stringify(rest[0])}.`)
  return { target, list, text: (name) => list(name)[0], flag: (name) => list(name).length > 0 }
}
