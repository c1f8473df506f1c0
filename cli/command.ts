/** What a command of `aquatint` is. */

import type { CommandIO } from './output.js'

/** A command of `aquatint`. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string
  /** All of `aquatint <command> --help`. */
  readonly help: string
  /** Runs it and returns what `--json` prints. Text goes to `io` unless `json`. */
  readonly run: (args: readonly string[], io: CommandIO, json: boolean) => Promise<object | undefined>
}
