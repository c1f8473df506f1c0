/**
 * A repository on a plain web server. A `files.json` beside the files lists them with sizes and hashes. Without it, files are found by the
 * names that checkpoints use (see probe-layout.ts), and are checked by their size and the server's validator only.
 */

import { HubError, isAquatintError } from '../../errors.js'
import { orAbort } from '../../util/abort.js'
import { parseJson } from '../../util/parse-json.js'
import { fetchJson } from '../http/fetch-json.js'
import { FileLocation, type RemoteFile } from '../http/file-location.js'
import { asFileRecord, fileRecordKey, wasOpened } from '../cache/file-record.js'
import { OpenFiles } from './open-files.js'
import { fileNotFound, unreachableCodes } from '../http/http-errors.js'
import type { Hub } from '../hub.js'
import { listingName, parseFilesJson } from './listing.js'
import { encodePath, isSafePath } from '../names.js'
import { probeFile, HostProbe, isAbsent } from '../http/probe-file.js'
import { probeLayout, type LayoutProbe } from './probe-layout.js'
import { addressKey, hashKey } from '../stored-file.js'
import {
  asRepositoryRecord,
  opensFromCache,
  newRepositoryRecord,
  recordDownloadStart,
  requireRevalidation,
  recordRemoval,
  recordListing,
  recordUse,
  repositoryKey,
  type RepositoryRecord,
} from '../cache/repository-record.js'
import type { ByteSource, LayoutNames, OpenOptions, HeaderOnlySource, ReadOptions, Repository, RepositoryFile } from '../types.js'

/** The longest JSON file that is read to find other files, in bytes. */
const maxJsonBytes = 10_000_000

/** What is known about a host's files. */
type Listing = Pick<RepositoryRecord, 'files' | 'probed'>

interface StaticRepositoryOptions {
  readonly revalidate: boolean
  /** The names to request where the host has no listing. */
  readonly layout: LayoutNames | undefined
}

/** A repository on a plain web server. Its id is the base URL of its files. */
export class StaticRepository implements Repository {
  readonly id: string
  readonly revision = 'static'
  readonly #hub: Hub
  readonly #options: StaticRepositoryOptions
  /** The listed files; null when the host has no listing. */
  readonly #files: ReadonlyMap<string, RepositoryFile> | null
  /** Resolves to the files that were found by requesting them one by one; undefined before the first probe and after a failed one. */
  #probed: Promise<readonly RepositoryFile[]> | undefined
  readonly #closing = new AbortController()
  readonly #openFiles = new OpenFiles()
  /** Whether a changed validator means changed content. Some hosts send another validator with every answer. */
  #validatorsHold = true

  private constructor(hub: Hub, base: string, { files, probed }: Listing, options: StaticRepositoryOptions) {
    this.id = base
    this.#hub = hub
    this.#options = options
    this.#files = files === null || probed === true ? null : new Map(files.map((file) => [file.path, file]))
    this.#probed = files !== null && probed === true ? Promise.resolve(files) : undefined
  }

  /** Lists the files, without the network if the cache has every file that was used. @param base absolute URL with a slash at its end */
  static async open(hub: Hub, base: string, options: StaticRepositoryOptions, signal: AbortSignal): Promise<StaticRepository> {
    const { revalidate, layout } = options
    const key = repositoryKey(base, '', 'static')
    const known = asRepositoryRecord(await hub.store.record(key))
    if (known !== undefined && !revalidate && (await opensFromCache(hub.store, known))) {
      await recordUse(hub.store, { ...known, lastUsed: hub.now() })
      return new StaticRepository(hub, base, known, options)
    }
    let files: RepositoryFile[] | null
    try {
      files = await fetchListing(hub, base, signal)
    } catch (error) {
      const offline = isAquatintError(error, ...unreachableCodes)
      if (offline && known !== undefined) return new StaticRepository(hub, base, known, { revalidate: false, layout })
      // To a page on another origin, a host without the listing may seem not to answer, see HostProbe.
      if (!offline || layout === undefined) throw error
      if ((await new HostProbe(hub.transport, base, signal).sizeAtOnce(layout.index)) === undefined) throw error
      files = null
    }
    await recordListing(hub.store, newRepositoryRecord('', base, 'static', files, hub.now()))
    // If an earlier error requires revalidation, ask the server again about each file without a hash, too.
    return new StaticRepository(hub, base, { files }, { revalidate: revalidate || known?.doubted === true, layout })
  }

  /** @throws HubError `listing-unavailable` when the host has no files.json and no file of a checkpoint was found */
  async files(options: ReadOptions = {}): Promise<readonly RepositoryFile[]> {
    if (this.#files !== null) return [...this.#files.values()]
    const probing = (this.#probed ??= this.#probe())
    // Do not remember a failure: the next call probes the host again.
    probing.catch(() => {
      if (this.#probed === probing) this.#probed = undefined
    })
    return orAbort(probing, options.signal)
  }

  async #probe(): Promise<readonly RepositoryFile[]> {
    const { signal } = this.#closing
    const { layout } = this.#options
    const host = new HostProbe(this.#hub.transport, this.id, signal)
    const probe: LayoutProbe = {
      sizeOf: (path) => host.sizeOf(path),
      sizeAtOnce: (path) => host.sizeAtOnce(path),
      json: async (path) => {
        const source = await this.open(path, { signal, maxBytes: maxJsonBytes })
        const bytes = await source.read({ begin: 0, end: source.byteLength }, { signal })
        try {
          return parseJson(bytes, { file: path, maxBytes: maxJsonBytes, duplicateKeys: 'last' })
        } catch {
          // The loader reads this file again and reports what is wrong with it.
          return undefined
        }
      },
    }
    const files = layout === undefined ? [] : await probeLayout(probe, layout)
    if (files.length === 0) {
      throw new HubError(
        'listing-unavailable',
        `No checkpoint was found at ${this.id}: it has no ${listingName}, no model_index.json and no config.json.${whyNone(host)}`,
        { repository: this.id },
      )
    }
    await this.#hub.store.updateRecord(repositoryKey(this.id, '', this.revision), (old) => ({
      ...(asRepositoryRecord(old) ?? this.#fresh()),
      files,
      probed: true,
    }))
    return files
  }

  async open(path: string, options: OpenOptions = {}): Promise<ByteSource> {
    for (let tries = 0; ; tries++) {
      const file = await this.#remote(path, options, tries > 0)
      try {
        await recordDownloadStart(this.#hub.store, this.#fresh(), path, file.key)
        const { source, release } = await this.#hub.openRemote(file, options)
        this.#openFiles.add(file.key, release)
        await recordUse(this.#hub.store, this.#fresh(), { [path]: file.key })
        return source
      } catch (error) {
        // Without a hash only the server knows the file's current size and validator: ask it once more.
        const replaced = isAquatintError(error) && (error.code === 'file-changed' || error.code === 'size-mismatch')
        if (file.hash === undefined && replaced) {
          if (tries === 0) continue
          if (this.#validatorsHold && error.code === 'file-changed') {
            this.#validatorsHold = false
            continue
          }
        }
        // The listing does not match the files: the next opening requests it again.
        if (replaced || (isAquatintError(error) && error.code === 'hash-mismatch')) await this.revalidateOnNextOpen()
        throw error
      }
    }
  }

  async openHeaderOnly(path: string, options: ReadOptions = {}): Promise<HeaderOnlySource> {
    return this.#hub.openHeaderOnly(await this.#remote(path, options, false))
  }

  async drop(path: string): Promise<void> {
    const sha256 = this.#files?.get(path)?.sha256
    const key = sha256 === undefined ? addressKey(this.id + encodePath(path)) : hashKey({ algorithm: 'sha256', hex: sha256 })
    this.#openFiles.release(key)
    await recordRemoval(this.#hub.store, repositoryKey(this.id, '', 'static'), path)
    await this.#hub.cache.deleteFile(key)
  }

  /** See OpenRepository. */
  async revalidateOnNextOpen(): Promise<void> {
    await requireRevalidation(this.#hub.store, repositoryKey(this.id, '', 'static'))
  }

  /** Ends the use of all opened files, and stops probing the host. */
  close(): void {
    this.#closing.abort()
    this.#openFiles.close()
  }

  /** A record of this repository as it is listed, for when the cache has none. */
  #fresh(): RepositoryRecord {
    return newRepositoryRecord(
      '',
      this.id,
      this.revision,
      this.#files === null ? null : [...this.#files.values()],
      this.#hub.now(),
    )
  }

  /** What is known about a file. @param revalidate whether to ask the server even if the file is cached */
  async #remote(path: string, options: OpenOptions, revalidate: boolean): Promise<RemoteFile> {
    if (!isSafePath(path)) throw fileNotFound({ repository: this.id, path })
    const url = this.id + encodePath(path)
    const listed = this.#files?.get(path)
    if (this.#files !== null && listed === undefined) throw fileNotFound({ repository: this.id, path })
    const location = new FileLocation(url)
    if (listed?.sha256 !== undefined) {
      const hash = { algorithm: 'sha256', hex: listed.sha256 } as const
      return { repository: this.id, path, size: listed.size, key: hashKey(hash), hash, location }
    }
    const key = addressKey(url)
    const kept = asFileRecord(await this.#hub.store.record(fileRecordKey(key)))
    const remembered =
      kept === undefined ? undefined : { repository: this.id, path, size: kept.size, key, validator: kept.validator, location }
    if (remembered !== undefined && wasOpened(kept) && !this.#options.revalidate && !revalidate) return remembered
    try {
      const signal = options.signal ?? new AbortController().signal
      const { size, validator } = await probeFile(this.#hub.transport, location, { repository: this.id, path }, signal)
      return { repository: this.id, path, size, key, validator: this.#validatorsHold ? validator : undefined, location }
    } catch (error) {
      if (remembered !== undefined && wasOpened(kept) && isAquatintError(error, ...unreachableCodes)) return remembered
      throw error
    }
  }
}

/** A sentence that begins with a space, if the host answered a request with an HTML page or status 403; else ''. */
function whyNone({ sawPage, sawDenial }: HostProbe): string {
  if (sawPage)
    return ' The server answers such requests with an HTML page, such as its home page or a login page. Check the address.'
  if (sawDenial)
    return ' The server denies such requests (status 403), as storage services do for files that are not public or do not exist. Check the address, and that the files are public.'
  return ''
}

/** Error codes for content that some hosts send with status 200, whatever its Content-Type, in place of a missing file. */
const notFoundWords = new Set(['html-page', 'other-format', 'empty-file'])

/** The files that files.json lists; null when the host has no files.json, or when the file has another format. */
async function fetchListing(hub: Hub, base: string, signal: AbortSignal): Promise<RepositoryFile[] | null> {
  const requested = { repository: base, path: listingName }
  try {
    const { value } = await fetchJson(hub.transport, { url: base + listingName, requested, signal })
    const isListing = typeof value === 'object' && value !== null && 'files' in value && Array.isArray(value.files)
    return isListing ? parseFilesJson(value, requested) : null
  } catch (error) {
    const { cause } = error as Error
    if (isAbsent(error) || (isAquatintError(cause) && notFoundWords.has(cause.code))) return null
    throw error
  }
}
