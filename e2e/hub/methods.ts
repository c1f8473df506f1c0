/** The methods of the hub's worker that specs call, and how they are called. */

import type { CachedModel, VerifyResult } from '../../src/hub/cache/cache-manager.js'
import type { RepositoryReference } from '../../src/hub/repositories/open-repository.js'
import type { TransferSettings } from '../../src/hub/settings.js'
import type { RepositoryFile } from '../../src/hub/types.js'
import type { FloatDType, TargetDType } from '../../src/checkpoint/element-types.js'

interface OpenArguments {
  readonly endpoint?: string
  readonly revision?: string
  readonly token?: string
  readonly revalidate?: boolean
}

export interface HubMethods {
  /** Receives the port over which this worker asks the page to start workers for it. */
  useWorkers(port: MessagePort): void
  /** Opens the cache with settings other than the default. */
  setUp(settings: Partial<TransferSettings>): void
  open(id: string, options: OpenArguments): { revision: string; files: readonly RepositoryFile[] }
  /** Writes files into the origin's own file system, and opens that folder as a repository. */
  openFolder(files: Readonly<Record<string, string>>): readonly RepositoryFile[]
  /** Opens a folder that the page received. */
  openReference(folder: Exclude<RepositoryReference, string>): { id: string; files: readonly RepositoryFile[] }
  /** Opens files of the open repository at the same time. Returns their lengths in bytes. */
  load(...paths: string[]): number[]
  /** Aborts all calls in progress. */
  abort(): void
  /** Closes the repository. After that its files may be evicted, but can still be read. */
  close(): void
  /** Hex sha256 of the bytes that an opened file returns. */
  hash(path: string): string
  read(path: string, begin: number, end: number): number[]
  /** Codes of the storage errors so far. */
  trouble(): string[]
  /** The most bytes of downloads that were in memory at once. */
  memoryPeak(): number
  /**
   * Treats an opened file as two tensors of type `from`, and casts them into a prepared file, which is then open under a name such as
   * `prepared F32`. Returns its length in bytes. With `holdAt`, reads beyond that byte of the file never resolve, so that the call never
   * ends.
   */
  prepare(path: string, from: FloatDType, to: TargetDType, holdAt?: number): number
  /** Reads and checks a JSON file. Returns its keys. */
  readConfig(path: string): string[]
  /** Reads only the headers of a folder's weights, as a plan does. Returns the names of the tensors. */
  tensorNames(folder: string): string[]
  models(): CachedModel[]
  totalBytes(): number
  verify(): VerifyResult
  deleteModel(id: string): number
  evictOldest(): number | undefined
  /** Hex sha256 of each file that the export of a model returns. */
  exported(id: string): Record<string, string>
  /** Inverts a byte of a stored chunk without the hub's knowledge. */
  corrupt(path: string, index: number): void
  /** Deletes a stored chunk without the hub's knowledge. */
  loseChunk(path: string, index: number): void
  /** Everything in the databases except chunks, as text. */
  recordsAsText(): string
}

export type Argument<M extends keyof HubMethods> = Parameters<HubMethods[M]>
export type Answer<M extends keyof HubMethods> = ReturnType<HubMethods[M]>
