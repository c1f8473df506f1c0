/** What `inspect` looks at: a folder on disk, a repository on a Hub or a web server. Of remote weight files only the headers are fetched, and nothing is kept. */

import { stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import { HubError, InputError } from '../src/errors.js'
import { Hub } from '../src/hub/hub.js'
import { openRepository } from '../src/hub/repositories/open-repository.js'
import type { Repository } from '../src/hub/types.js'
import { FolderRepository } from './folder-repository.js'
import type { CommandIO } from './output.js'
import { sayWaits } from './say-waits.js'
import { headersOnly } from '../src/hub/downloads/header-only-file.js'

export interface RemoteOptions {
  /** Base URL of the Hub with a slash at its end. */
  readonly endpoint: string
  readonly revision?: string | undefined
  readonly token?: string | undefined
}

export interface FoundRepository {
  readonly repository: Repository
  close(): Promise<void>
}

/** @throws InputError `not-a-folder`, and all that the hub's openRepository throws */
export async function findRepository(target: string, options: RemoteOptions, io: CommandIO): Promise<FoundRepository> {
  const there = await stat(target).catch(() => null)
  if (there?.isFile() === true)
    throw new InputError(
      'not-a-folder',
      `${target} is a file; a folder in diffusers' layout is needed, or one component's.${isCheckpoint(target) ? " A checkpoint in a single file becomes one with diffusers' from_single_file and save_pretrained." : ''}`,
      { target },
    )
  if (there !== null || isAbsolute(target) || /^\.{0,2}[\\/]/.test(target)) {
    const folder = new FolderRepository(target)
    return { repository: folder, close: () => folder.close() }
  }
  const waits = sayWaits(io)
  const hub = await Hub.open({ store: null, fetch: waits.fetch })
  try {
    const repository = await openRepository(hub, target, { ...options, signal: io.signal })
    const close = async () => {
      repository.close()
      waits.end()
    }
    return { repository: headersOnly(repository), close }
  } catch (error) {
    waits.end()
    throw withHint(error, target)
  }
}

function isCheckpoint(path: string): boolean {
  return /\.(?:safetensors|ckpt|bin|pth?|gguf)$/.test(path)
}

const perhapsMeantAFolder = new Set([
  'repository-not-found',
  'bad-repository-id',
  'network',
  'stalled',
  'server-error',
  'rate-limited',
])

/** A mistyped folder looks like a name on the Hub. */
function withHint(error: unknown, target: string): unknown {
  if (/^[A-Za-z][\w+.-]*:/.test(target)) return error
  if (!(error instanceof HubError || error instanceof InputError) || !perhapsMeantAFolder.has(error.code)) return error
  const message = `${error.message.replace(/\.?$/, '.')} There is no folder ${target} here either.`
  return error instanceof HubError
    ? new HubError(error.code, message, error.details, error)
    : new InputError(error.code, message, error.details, error)
}
