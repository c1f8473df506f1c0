/** All commands by name. */

import { inspectCommand } from './inspect/inspect.js'
import { serveCommand } from './serve/serve.js'
import { shardCommand } from './shard/shard.js'
import type { Command } from './command.js'

export const commands: Readonly<Record<string, Command>> = { shard: shardCommand, inspect: inspectCommand, serve: serveCommand }
