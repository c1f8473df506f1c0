/** The commands by name: what each takes, its help, and the function that runs it. */

import { inspectCommand } from './inspect.js'
import { serveCommand } from './serve.js'
import { shardCommand } from './shard.js'
import type { Command } from './command.js'

export const commands: Readonly<Record<string, Command>> = { shard: shardCommand, inspect: inspectCommand, serve: serveCommand }
