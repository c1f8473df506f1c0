/**
 * Opens the target of `inspect`: a folder or a checkpoint in one file, on disk, on a Hub or on a web server. Of remote weight files, only
 * headers are downloaded. Nothing is stored on disk.
 */

import { stat } from 'node:fs/promises'
import { basename, dirname, isAbsolute } from 'node:path'
import { fileURLToPath } from 'node:url'
import { modelIndexName } from '../../src/checkpoint/layouts/diffusers-names.js'
import { layoutNames } from '../../src/checkpoint/layouts/open-layout.js'
import { HubError, InputError, isAquatintError } from '../../src/errors.js'
import { Hub } from '../../src/hub/hub.js'
import { cleanReference } from '../../src/util/clean-reference.js'
import { isSingleFileAddress, openFile } from '../../src/hub/repositories/open-file.js'
import { openRepository } from '../../src/hub/repositories/open-repository.js'
import type { ByteSource, Repository } from '../../src/hub/types.js'
import type { FileInRepository } from '../../src/checkpoint/layouts/single-file/single-file.js'
import { DiskRepository } from '../disk-repository.js'
import type { CommandIO } from '../output.js'
import { sayWaits } from './say-waits.js'
import { singleFileFolder } from './single-file-folder.js'
import { headersOnly } from '../../src/hub/downloads/header-only-file.js'

/** How remote repositories are opened. */
export interface RemoteOptions {
  /** Base URL of the Hub with a slash at its end. */
  readonly endpoint: string
  readonly revision?: string | undefined
  readonly token?: string | undefined
  /** A folder, a repository or a URL with the configs of a checkpoint in one file. Default: the repository of its family on the Hub. */
  readonly config?: string | undefined
}

/** An open repository. */
export interface FoundRepository {
  readonly repository: Repository
  close(): Promise<void>
}

/** Opens the folder, file, repository or URL that the user named. @throws InputError `not-a-folder`, and all that the hub's openRepository throws */
export async function findRepository(text: string, options: RemoteOptions, io: CommandIO): Promise<FoundRepository> {
  const target = await localName(text)
  const there = await stat(target).catch(() => null)
  if (there?.isFile() === true && !isCheckpoint(target))
    throw new InputError(
      'not-a-folder',
      `${target} is a file; give a folder in diffusers' layout, or a checkpoint in one file.`,
      {
        target,
      },
    )
  if (there?.isFile() === true || (there === null && isSingleFileAddress(target)))
    return findSingleFile(target, there !== null, options, io)
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

/**
 * Opens a checkpoint in one file, with the configs of its family.
 * @throws the errors of {@link findRepository}; UnsupportedError `single-file-family`
 */
async function findSingleFile(
  target: string,
  isOnDisk: boolean,
  options: RemoteOptions,
  io: CommandIO,
): Promise<FoundRepository> {
  const { config: configs, ...remote } = options
  const closing: (() => Promise<void>)[] = []
  const close = async () => {
    for (const end of closing) await end()
  }
  const open = async (text: string) => {
    const found = await findRepository(text, remote, io)
    closing.push(() => found.close())
    return found.repository
  }
  try {
    const config = configs === undefined ? undefined : await open(configs)
    const file = isOnDisk ? openOnDisk(target, closing) : await openByAddress(target, remote, io, closing)
    const warn = (message: string) => io.stderr(`Note: ${message}\n`)
    return { repository: await singleFileFolder({ file, config, open, warn }, { signal: io.signal }), close }
  } catch (error) {
    await close()
    throw error
  }
}

function openOnDisk(path: string, closing: (() => Promise<void>)[]): FileInRepository {
  const repository = DiskRepository.ofFile(path)
  closing.push(() => repository.close())
  return { repository, path: basename(path) }
}

async function openByAddress(
  address: string,
  options: RemoteOptions,
  io: CommandIO,
  closing: (() => Promise<void>)[],
): Promise<FileInRepository> {
  const waits = sayWaits(io)
  closing.push(async () => waits.end())
  const hub = await Hub.open({ store: null, fetch: waits.fetch })
  const { repository, path } = await openFile(hub, address, { ...options, signal: io.signal })
  closing.push(async () => repository.close())
  return { repository: openedOnce(headersOnly(repository)), path }
}

/** Opens each file once, since several readers look at the same configs and headers. */
function openedOnce(repository: Repository): Repository {
  const opened = new Map<string, Promise<ByteSource>>()
  const openHeaderOnly = repository.openHeaderOnly?.bind(repository)
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
    // `openHeaderOnly` itself opens each file only once.
    ...(openHeaderOnly === undefined ? {} : { openHeaderOnly }),
  }
}

/**
 * Returns the path of a file or folder that exists, as the user typed it; otherwise the text without the quotes and spaces that the user
 * pasted with it. For the path of a model_index.json, returns its folder.
 */
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

const perhapsMeantAFolder = [
  'repository-not-found',
  'bad-repository-id',
  'network',
  'stalled',
  'server-error',
  'rate-limited',
] as const

/** Adds to the error's message that no such folder exists, because a mistyped folder looks like a name on the Hub. */
function withHint(error: unknown, target: string): unknown {
  if (/^[A-Za-z][\w+.-]*:/.test(target)) return error
  if (!isAquatintError(error, ...perhapsMeantAFolder)) return error
  const message = `${error.message.replace(/\.?$/, '.')} There is no folder ${target} here either.`
  return error.code === 'bad-repository-id'
    ? new InputError(error.code, message, error.details, error)
    : new HubError(error.code, message, error.details, error)
}
