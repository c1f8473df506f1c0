/** Opens the target of `inspect`: a folder on disk, or a repository on a Hub or a web server. Of remote weight files only headers are downloaded; nothing is cached. */

import { stat } from 'node:fs/promises'
import { basename, dirname, isAbsolute } from 'node:path'
import { fileURLToPath } from 'node:url'
import { modelIndexName } from '../../src/checkpoint/layouts/diffusers-names.js'
import { layoutNames } from '../../src/checkpoint/layouts/open-layout.js'
import { HubError, InputError } from '../../src/errors.js'
import { Hub } from '../../src/hub/hub.js'
import { cleanReference } from '../../src/util/clean-reference.js'
import { openRepository } from '../../src/hub/repositories/open-repository.js'
import type { ByteSource, Repository } from '../../src/hub/types.js'
import { DiskRepository } from '../disk-repository.js'
import type { CommandIO } from '../output.js'
import { sayWaits } from './say-waits.js'
import { headersOnly } from '../../src/hub/downloads/header-only-file.js'

/** How remote repositories are opened. */
export interface RemoteOptions {
  /** Base URL of the Hub with a slash at its end. */
  readonly endpoint: string
  readonly revision?: string | undefined
  readonly token?: string | undefined
}

/** An open repository. */
export interface FoundRepository {
  readonly repository: Repository
  close(): Promise<void>
}

/** @throws InputError `not-a-folder`, and all that the hub's openRepository throws */
export async function findRepository(text: string, options: RemoteOptions, io: CommandIO): Promise<FoundRepository> {
  const target = await localName(text)
  const there = await stat(target).catch(() => null)
  if (there?.isFile() === true)
    throw new InputError(
      'not-a-folder',
      `${target} is a file; give a folder in diffusers' layout, or the folder of one component.${isCheckpoint(target) ? " diffusers' from_single_file and save_pretrained turn a checkpoint in a single file into such a folder." : ''}`,
      { target },
    )
  if (there !== null || isAbsolute(target) || /^\.{0,2}[\\/]|^\.{1,2}$/.test(target)) {
    const folder = new DiskRepository(target)
    return { repository: folder, close: () => folder.close() }
  }
  const waits = sayWaits(io)
  const hub = await Hub.open({ store: null, fetch: waits.fetch })
  try {
    const repository = await openRepository(hub, target, { ...options, layout: layoutNames, signal: io.signal })
    const close = async () => {
      repository.close()
      waits.end()
    }
    return { repository: openedOnce(headersOnly(repository)), close }
  } catch (error) {
    waits.end()
    throw withHint(error, target)
  }
}

/** Opens each file once, since several readers look at the same configs and headers. */
function openedOnce(repository: Repository): Repository {
  const opened = new Map<string, Promise<ByteSource>>()
  return {
    id: repository.id,
    revision: repository.revision,
    files: (options) => repository.files(options),
    open: (path, options) => {
      const known = opened.get(path)
      if (known !== undefined) return known
      const source = repository.open(path, options)
      opened.set(path, source)
      // A failed opening is tried again by the next reader.
      source.catch(() => opened.delete(path))
      return source
    },
  }
}

/** A text as it was typed if such a file or folder exists, else without what was pasted with it. model_index.json means its folder. */
async function localName(text: string): Promise<string> {
  const there = await stat(text).catch(() => null)
  const target = there === null ? cleanReference(text) : text
  const path = target.startsWith('file:') && URL.canParse(target) ? fileURLToPath(target) : target
  const isUrl = /^[A-Za-z][\w+.-]*:\/\//.test(path)
  return !isUrl && basename(path) === modelIndexName ? dirname(path) : path
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

/** Adds to an error that no such folder exists: a mistyped folder looks like a name on the Hub. */
function withHint(error: unknown, target: string): unknown {
  if (/^[A-Za-z][\w+.-]*:/.test(target)) return error
  if (!(error instanceof HubError || error instanceof InputError) || !perhapsMeantAFolder.has(error.code)) return error
  const message = `${error.message.replace(/\.?$/, '.')} There is no folder ${target} here either.`
  return error instanceof HubError
    ? new HubError(error.code, message, error.details, error)
    : new InputError(error.code, message, error.details, error)
}
