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
  /** Opens the cache with settings other than the usual. */
  setUp(settings: Partial<TransferSettings>): void
  open(id: string, options: OpenArguments): { revision: string; files: readonly RepositoryFile[] }
  /** Writes files into the origin's own file system, and opens that folder as a repository. */
  openFolder(files: Readonly<Record<string, string>>): readonly RepositoryFile[]
  /** Opens a folder that the page was given. */
  openReference(folder: Exclude<RepositoryReference, string>): { id: string; files: readonly RepositoryFile[] }
  /** Opens files of the open repository at the same time; gives their lengths. */
  load(...paths: string[]): number[]
  /** Aborts what goes on. */
  abort(): void
  /** Closes the repository: its files may be evicted, and can still be read. */
  close(): void
  /** Hex sha256 of an opened file as it reads. */
  hash(path: string): string
  read(path: string, begin: number, end: number): number[]
  /** Codes of the storage errors so far. */
  trouble(): string[]
  /** Most bytes that downloads held in memory at once. */
  memoryPeak(): number
  /**
   * Casts an opened file, taken as two tensors of type `from`, into a prepared file, which is then open as `prepared F32` or the like; gives
   * its length. With `holdAt`, what lies behind that byte of the file is never read, so that it never ends.
   */
  prepare(path: string, from: FloatDType, to: TargetDType, holdAt?: number): number
  /** Reads and checks a JSON file; gives its keys. */
  readConfig(path: string): string[]
  /** Looks at the weights of a folder by their headers, as a plan does; gives the names of the tensors. */
  tensorNames(folder: string): string[]
  models(): CachedModel[]
  totalBytes(): number
  verify(): VerifyResult
  deleteModel(id: string): number
  evictOldest(): number | undefined
  /** Hex sha256 of each file of a model as it is given out. */
  exported(id: string): Record<string, string>
  /** Inverts a byte of a stored chunk behind the hub's back. */
  corrupt(path: string, index: number): void
  /** Deletes a stored chunk behind the hub's back. */
  loseChunk(path: string, index: number): void
  /** Everything in the databases besides chunks, as text. */
  recordsAsText(): string
}

export type Argument<M extends keyof HubMethods> = Parameters<HubMethods[M]>
export type Answer<M extends keyof HubMethods> = ReturnType<HubMethods[M]>
