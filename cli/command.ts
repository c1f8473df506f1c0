/** The interface of a command of `aquatint`. */

import type { CommandIO } from './output.js'

/** A command of `aquatint`. */
export interface Command {
  /** One line for the list of commands in the help. */
  readonly summary: string
  /** The text of `aquatint <command> --help`. */
  readonly help: string
  /** Runs the command and returns the document that `--json` prints. Without `json` it prints text to `io`. */
  readonly run: (args: readonly string[], io: CommandIO, json: boolean) => Promise<object | undefined>
}
