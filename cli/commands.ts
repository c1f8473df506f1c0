/** The commands by name: what each takes, its help, and the function that runs it. */

import { inspectCommand } from './inspect.js'
import type { CommandIO } from './output.js'
import { serveCommand } from './serve.js'
import { shardCommand } from './shard.js'

/** A command of `aquatint`. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string
  /** All of `aquatint <command> --help`. */
  readonly help: string
  /** Runs it and returns what `--json` prints. Text goes to `io` unless `json`. */
  readonly run: (args: readonly string[], io: CommandIO, json: boolean) => Promise<object | undefined>
}

export const commands: Readonly<Record<string, Command>> = { shard: shardCommand, inspect: inspectCommand, serve: serveCommand }
