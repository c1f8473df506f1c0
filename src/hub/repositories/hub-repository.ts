/** A repository on the Hugging Face Hub, or on a mirror with its API, at one commit. */

import { isAquatintError } from '../../errors.js'
import { OpenFiles } from './open-files.js'
import { fileNotFound, unreachableCodes } from '../http/http-errors.js'
import { fetchCommit, fetchTree, resolveUrl, tokenHeaders, type HubAddress } from './hub-api.js'
import type { Hub } from '../hub.js'
import { FileLocation, type RemoteFile } from '../http/file-location.js'
import { isCommit } from '../names.js'
import { hashKey, type ExpectedHash } from '../stored-file.js'
import {
  asRepositoryRecord,
  branchKey,
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
import type { ByteSource, OpenOptions, HeaderOnlySource, ReadOptions, Repository, RepositoryFile } from '../types.js'

/** Which repository to open, and how. */
export interface HubRepositoryOptions extends HubAddress {
  readonly revision: string
  readonly token?: string | undefined
  /** Whether to request the branch's current commit even if every file that was opened before is cached. */
  readonly revalidate: boolean
}

/** A repository on the Hub. Its files are those of one commit, whatever happens to the branch. */
export class HubRepository implements Repository {
  readonly id: string
  readonly revision: string
  readonly #hub: Hub
  readonly #address: HubAddress
  readonly #token: string | undefined
  readonly #files: ReadonlyMap<string, RepositoryFile>
  readonly #locations = new Map<string, FileLocation>()
  readonly #openFiles = new OpenFiles()

  /** @param options whose `revision` is a commit */
  private constructor(hub: Hub, { endpoint, id, revision, token }: HubRepositoryOptions, files: readonly RepositoryFile[]) {
    this.id = id
    this.revision = revision
    this.#hub = hub
    this.#address = { endpoint, id }
    this.#token = token
    this.#files = new Map(files.map((file) => [file.path, file]))
  }

  /** Pins the revision to a commit and lists its files, without the network if the cache has every file that was used. */
  static async open(hub: Hub, options: HubRepositoryOptions, signal: AbortSignal): Promise<HubRepository> {
    const { endpoint, id, token } = options
    const { store } = hub
    const { commit, isNew } = await pin(hub, options, signal)
    const known = asRepositoryRecord(await store.record(repositoryKey(endpoint, id, commit)))
    const files = known?.files ?? (await fetchTree(hub.transport, { endpoint, id, revision: commit, token, signal }))
    const fresh = newRepositoryRecord(id, endpoint, commit, files, hub.now())
    await (isNew || known === undefined ? recordListing(store, fresh) : recordUse(store, fresh))
    return new HubRepository(hub, { ...options, revision: commit }, files)
  }

  files(_options?: ReadOptions): Promise<readonly RepositoryFile[]> {
    return Promise.resolve([...this.#files.values()])
  }

  async open(path: string, options: OpenOptions = {}): Promise<ByteSource> {
    const file = this.#files.get(path)
    if (file === undefined) throw fileNotFound({ repository: this.id, path })
    const remote = this.#remote(file)
    const { key } = remote
    await recordDownloadStart(this.#hub.store, this.#fresh(), path, key)
    const { source, release } = await this.#hub.openRemote(remote, options)
    this.#openFiles.add(key, release)
    await recordUse(this.#hub.store, this.#fresh(), { [path]: key })
    return source
  }

  async openHeaderOnly(path: string): Promise<HeaderOnlySource> {
    const file = this.#files.get(path)
    if (file === undefined) throw fileNotFound({ repository: this.id, path })
    return this.#hub.openHeaderOnly(this.#remote(file))
  }

  async drop(path: string): Promise<void> {
    const file = this.#files.get(path)
    if (file === undefined) return
    const key = keyOf(this.#address, this.revision, file)
    this.#openFiles.release(key)
    await recordRemoval(this.#hub.store, repositoryKey(this.#address.endpoint, this.#address.id, this.revision), path)
    await this.#hub.cache.deleteFile(key)
  }

  /** See OpenRepository. */
  async revalidateOnNextOpen(): Promise<void> {
    await requireRevalidation(this.#hub.store, repositoryKey(this.#address.endpoint, this.#address.id, this.revision))
  }

  /** Ends the use of all opened files, so that the cache may evict them. A later read of such a file may have to download chunks again. */
  close(): void {
    this.#openFiles.close()
  }

  /** A record of this repository as it is listed, for when the cache has none. */
  #fresh(): RepositoryRecord {
    return newRepositoryRecord(this.id, this.#address.endpoint, this.revision, [...this.#files.values()], this.#hub.now())
  }

  #remote(file: RepositoryFile): RemoteFile {
    const { path, size } = file
    const location =
      this.#locations.get(path) ?? new FileLocation(resolveUrl(this.#address, this.revision, path), tokenHeaders(this.#token))
    this.#locations.set(path, location)
    return {
      repository: this.id,
      path,
      revision: this.revision,
      size,
      key: keyOf(this.#address, this.revision, file),
      hash: hashOf(file),
      location,
    }
  }
}

/** The commit of a revision, and whether the Hub has just named it. */
interface Pinned {
  readonly commit: string
  readonly isNew: boolean
}

/** The commit of the revision: the cached one if the cache has every file of it that was opened, else the one that the Hub names. */
async function pin(hub: Hub, options: HubRepositoryOptions, signal: AbortSignal): Promise<Pinned> {
  const { endpoint, id, revision, token, revalidate } = options
  if (isCommit(revision)) return { commit: revision, isNew: false }
  const key = branchKey(endpoint, id, revision)
  const remembered: unknown = await hub.store.record(key)
  const last = typeof remembered === 'string' && isCommit(remembered) ? remembered : undefined
  const record = last === undefined ? undefined : asRepositoryRecord(await hub.store.record(repositoryKey(endpoint, id, last)))
  if (last !== undefined && record !== undefined && !revalidate && (await opensFromCache(hub.store, record)))
    return { commit: last, isNew: false }
  try {
    const commit = await fetchCommit(hub.transport, { endpoint, id, revision, token, signal })
    if (commit !== last) await hub.store.putRecord(key, commit)
    return { commit, isNew: true }
  } catch (error) {
    // If the Hub fails to answer, use the last commit that it named.
    if (last !== undefined && record !== undefined && isAquatintError(error, ...unreachableCodes, 'server-error', 'rate-limited'))
      return { commit: last, isNew: false }
    throw error
  }
}

function hashOf({ sha256, gitOid }: RepositoryFile): ExpectedHash | undefined {
  if (sha256 !== undefined) return { algorithm: 'sha256', hex: sha256 }
  return gitOid === undefined ? undefined : { algorithm: 'git-sha1', hex: gitOid }
}

/** The key of a file in the cache. Users' caches depend on its form: do not change it. */
function keyOf({ endpoint, id }: HubAddress, commit: string, file: RepositoryFile): string {
  const hash = hashOf(file)
  return hash === undefined ? `commit:${endpoint}${id}@${commit}/${file.path}` : hashKey(hash)
}
