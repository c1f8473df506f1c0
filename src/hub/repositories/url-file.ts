/** One file at a URL as a repository of its own: a checkpoint in a single file on any host, behind redirects too. */

import { isAquatintError } from '../../errors.js'
import { asFileRecord, fileRecordKey, wasOpened } from '../cache/file-record.js'
import {
  asRepositoryRecord,
  newRepositoryRecord,
  recordDownloadStart,
  recordListing,
  recordRemoval,
  recordUse,
  repositoryKey,
  requireRevalidation,
  type RepositoryRecord,
} from '../cache/repository-record.js'
import { FileLocation, type RemoteFile } from '../http/file-location.js'
import { fileNotFound, unreachableCodes } from '../http/http-errors.js'
import { probeFile } from '../http/probe-file.js'
import type { Hub } from '../hub.js'
import { isSafePath, stripQuery } from '../names.js'
import { addressKey } from '../stored-file.js'
import type { ByteSource, HeaderOnlySource, OpenOptions, OpenRepository, ReadOptions, RepositoryFile } from '../types.js'
import { OpenFiles } from './open-files.js'

/** How a file at a URL is opened. */
export interface UrlFileOptions {
  /** Ask the server whether the file changed, even when it is cached. */
  readonly revalidate: boolean
}

/** A repository with one file. */
export class UrlFile implements OpenRepository {
  /** The URL without its query, which may hold a token. */
  readonly id: string
  readonly revision = 'file'
  /** The file's name: the last part of the URL, or `model`. `.safetensors` is appended to a name without an extension. */
  readonly path: string
  readonly #hub: Hub
  readonly #url: string
  readonly #options: UrlFileOptions
  readonly #openFiles = new OpenFiles()
  #remote: Promise<RemoteFile> | undefined
  /** Whether a changed validator means changed content. Some hosts send another validator with every answer. */
  #validatorsHold = true
  /** Whether a revalidation is required, but the server cannot be reached. */
  #isOverdue = false

  constructor(hub: Hub, url: string, options: UrlFileOptions) {
    this.#hub = hub
    this.#url = url
    this.#options = options
    this.id = stripQuery(url)
    const last = decodeURIComponent(new URL(this.id).pathname.split('/').at(-1) ?? '')
    const name = isSafePath(last) ? last : 'model'
    this.path = /\.\w+$/.test(name) ? name : `${name}.safetensors`
  }

  async files(options: ReadOptions = {}): Promise<readonly RepositoryFile[]> {
    const { size } = await this.#find(options)
    return [{ path: this.path, size }]
  }

  async open(path: string, options: OpenOptions = {}): Promise<ByteSource> {
    for (let tries = 0; ; tries++) {
      const file = await this.#checked(path, options)
      try {
        const fresh = this.#record([{ path, size: file.size }])
        // Recording a listing ends a required revalidation.
        if (!this.#isOverdue) await recordListing(this.#hub.store, fresh)
        await recordDownloadStart(this.#hub.store, fresh, path, file.key)
        const { source, release } = await this.#hub.openRemote(file, options)
        this.#openFiles.add(file.key, release)
        await recordUse(this.#hub.store, fresh, { [path]: file.key })
        return source
      } catch (error) {
        // Only the server knows the file's current size and validator: ask it once more.
        const replaced = isAquatintError(error) && (error.code === 'file-changed' || error.code === 'size-mismatch')
        if (!replaced) throw error
        if (tries > 0) {
          if (!this.#validatorsHold || error.code !== 'file-changed') throw error
          this.#validatorsHold = false
        }
        this.#remote = undefined
      }
    }
  }

  async openHeaderOnly(path: string, options: ReadOptions = {}): Promise<HeaderOnlySource> {
    return this.#hub.openHeaderOnly(await this.#checked(path, options))
  }

  async drop(path: string): Promise<void> {
    const { key } = await this.#checked(path, {})
    this.#openFiles.release(key)
    await recordRemoval(this.#hub.store, repositoryKey(this.id, '', this.revision), path)
    await this.#hub.cache.deleteFile(key)
  }

  /** See OpenRepository. */
  async revalidateOnNextOpen(): Promise<void> {
    this.#remote = undefined
    await requireRevalidation(this.#hub.store, repositoryKey(this.id, '', this.revision))
  }

  close(): void {
    this.#openFiles.close()
  }

  #record(files: readonly RepositoryFile[]): RepositoryRecord {
    return newRepositoryRecord('', this.id, this.revision, files, this.#hub.now())
  }

  /** @throws HubError `file-not-found` for a path other than `this.path` */
  #checked(path: string, options: ReadOptions): Promise<RemoteFile> {
    if (path !== this.path) throw fileNotFound({ repository: this.id, path })
    return this.#find(options)
  }

  #find(options: ReadOptions): Promise<RemoteFile> {
    const found = (this.#remote ??= this.#ask(options))
    // Do not remember a failure: the next call asks the server again.
    found.catch(() => {
      if (this.#remote === found) this.#remote = undefined
    })
    return found
  }

  /** The file as the cache records it, or else as the server describes it. If a revalidation is required, the server is asked first. */
  async #ask({ signal = new AbortController().signal }: ReadOptions): Promise<RemoteFile> {
    const { path, id: repository } = this
    const key = addressKey(withoutToken(this.#url))
    const location = new FileLocation(this.#url)
    const kept = asFileRecord(await this.#hub.store.record(fileRecordKey(key)))
    const remembered = wasOpened(kept)
      ? { repository, path, size: kept.size, key, validator: kept.validator, location }
      : undefined
    const listed = asRepositoryRecord(await this.#hub.store.record(repositoryKey(this.id, '', this.revision)))
    const isDoubted = listed?.doubted === true
    if (remembered !== undefined && !this.#options.revalidate && !isDoubted) return remembered
    this.#isOverdue = false
    try {
      const { size, validator } = await probeFile(this.#hub.transport, location, { repository, path }, signal)
      return { repository, path, size, key, validator: this.#validatorsHold ? validator : undefined, location }
    } catch (error) {
      if (remembered === undefined || !isAquatintError(error, ...unreachableCodes)) throw error
      this.#isOverdue = isDoubted
      return remembered
    }
  }
}

/** The URL that identifies the file in the cache. It omits the token, because the file is the same with every token. */
function withoutToken(address: string): string {
  const url = new URL(address)
  url.searchParams.delete('token')
  url.hash = ''
  return url.href
}
