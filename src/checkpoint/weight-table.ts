/**
 * Reads a component's weight table: opens the file or all shards at once, reads their headers and joins them, after the download or during
 * it. No tensor's bytes are in memory.
 */

import { CheckpointError } from '../errors.js'
import type {
  ByteSource,
  ChooseRanges,
  DownloadingSource,
  FileProgress,
  OpenOptions,
  ReadOptions,
  Repository,
} from '../hub/types.js'
import { readTensorFile } from './tensor-file.js'
import type { CheckpointNote, TensorEntry, WeightTable } from './types.js'
import type { WeightFiles } from './weight-files.js'
import { parseWeightIndex, weightIndexLimits, type WeightMap } from './weight-index.js'
import { elementCount } from '../util/element-count.js'

/** Options of {@link readWeightTable}. */
export interface ReadWeightsOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: FileProgress) => void) | undefined
  /** Whether a tensor will be read, by its name in the file. Other tensors may be fetched later, when they are read. Default: all will be read. */
  readonly isWanted?: ((name: string) => boolean) | undefined
  /** Called with a note about an oddity of the files that does not prevent reading them. */
  readonly onNote?: ((note: CheckpointNote) => void) | undefined
}

/** Opens the files and builds the table. @throws CheckpointError, UnsupportedError, HubError, StorageError, AbortError */
export async function readWeightTable(
  repository: Repository,
  files: WeightFiles,
  options: ReadWeightsOptions = {},
): Promise<WeightTable> {
  return joinTables(repository, files, options, (path, opening) => repository.open(path, opening))
}

/** A table whose tensors may still be downloading. */
export interface ArrivingTable {
  readonly table: WeightTable
  /** Resolves when every file is complete and verified. @throws HubError, StorageError, AbortError */
  readonly verified: (options?: ReadOptions) => Promise<void>
}

/**
 * Returns the table of {@link readWeightTable} as soon as the headers have arrived; reads of its tensors wait for their bytes. Nothing is
 * verified before `verified` resolves, so damaged bytes may cause an error before that. @throws as {@link readWeightTable}
 */
export async function readArrivingTable(
  repository: Repository,
  files: WeightFiles,
  options: ReadWeightsOptions = {},
): Promise<ArrivingTable> {
  const arriving: DownloadingSource[] = []
  const table = await joinTables(
    repository,
    files,
    options,
    (path, opening) =>
      new Promise<ByteSource>((resolve, reject) => {
        const onDownloading = (source: DownloadingSource) => {
          arriving.push(source)
          resolve(source)
        }
        // For a cached file, `onDownloading` is not called. If `open` fails after that call, the reads of the source report the error.
        repository.open(path, { ...opening, onDownloading }).then(resolve, reject)
      }),
  )
  return {
    table,
    verified: async (reading) => {
      await Promise.all(arriving.map((source) => source.verified(reading)))
    },
  }
}

type OpenShard = (path: string, options: OpenOptions) => Promise<ByteSource>

async function joinTables(
  repository: Repository,
  files: WeightFiles,
  options: ReadWeightsOptions,
  open: OpenShard,
): Promise<WeightTable> {
  const { isWanted, ...opening } = options
  const choose = isWanted === undefined ? undefined : (path: string) => wantedRanges(path, isWanted)
  if (files.kind === 'single') return readShard(open, files.path, { ...opening, choose: choose?.(files.path) })
  const weightMap = await readWeightMap(repository, files.path, options)
  const folder = files.path.slice(0, files.path.lastIndexOf('/') + 1)
  const shards = [...new Set(weightMap.values())].toSorted()

  const listed = new Map((await repository.files(options)).map(({ path, size }) => [path, size]))
  const missing = shards.filter((shard) => !listed.has(folder + shard))
  if (missing.length > 0)
    throw new CheckpointError(
      'shard-missing',
      `${files.path} names ${missing.length === 1 ? 'the shard' : `${missing.length} shards, first`} ${folder}${missing[0]}, which the repository does not have.`,
      { index: files.path, shards: missing.slice(0, 20).map((shard) => folder + shard) },
    )

  const inPart = new Set(isWanted && [...weightMap].flatMap(([name, shard]) => (isWanted(name) ? [] : [shard])))
  // Before the first bytes arrive, report the size of each shard that is downloaded whole.
  for (const shard of shards.filter((each) => !inPart.has(each))) {
    const total = listed.get(folder + shard) ?? 0
    options.onProgress?.({ path: folder + shard, loaded: 0, total, cached: 0, phase: 'queued' })
  }
  const tables = await Promise.all(
    shards.map((shard) =>
      readShard(open, folder + shard, { ...opening, choose: inPart.has(shard) ? choose?.(folder + shard) : undefined }),
    ),
  )
  const table = new Map<string, TensorEntry>()
  const holders = new Map<string, string>()
  for (const [i, shard] of shards.entries()) {
    for (const [name, entry] of tables[i] ?? []) {
      // If several shards hold a tensor, the last one counts, as in diffusers and transformers, which read the shards in this order.
      table.set(name, entry)
      holders.set(name, shard)
    }
  }
  const odd = oddEntries(weightMap, tables, holders)
  if (Object.keys(odd).length > 0)
    options.onNote?.({
      code: 'index-mismatch',
      message: `${files.path} and its shards disagree about ${some(Object.keys(odd))}. What the shards hold is used.`,
      values: odd,
    })
  return table
}

/** The tensors on which the index and the shards disagree, each with the reason: no shard has it, another shard has it, or several have it. */
function oddEntries(
  weightMap: WeightMap,
  tables: readonly WeightTable[],
  holders: ReadonlyMap<string, string>,
): Readonly<Record<string, string>> {
  const odd: (readonly [string, string])[] = []
  for (const [name, shard] of weightMap) {
    const holder = holders.get(name)
    if (holder === undefined) odd.push([name, `listed in ${shard}, and in no shard`])
    else if (holder !== shard) odd.push([name, `listed in ${shard}, and taken from ${holder}`])
  }
  const count = tables.reduce((sum, table) => sum + table.size, 0)
  if (count > holders.size)
    for (const [name, holder] of holders)
      if (tables.filter((table) => table.has(name)).length > 1) odd.push([name, `in several shards, and taken from ${holder}`])
  return Object.fromEntries(odd.slice(0, maxListed))
}

/** The most names that a note lists. */
const maxListed = 20

/** The first names of a list, for a message. */
function some(names: readonly string[]): string {
  return names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more tensors`
}

/** The paths of the chosen safetensors files: the single file, or the shards that the index names, sorted. */
export async function listWeightFiles(
  repository: Repository,
  files: WeightFiles,
  options: ReadWeightsOptions = {},
): Promise<readonly string[]> {
  if (files.kind === 'single') return [files.path]
  const folder = files.path.slice(0, files.path.lastIndexOf('/') + 1)
  const weightMap = await readWeightMap(repository, files.path, options)
  return [...new Set(weightMap.values())].toSorted().map((shard) => folder + shard)
}

async function readWeightMap(repository: Repository, path: string, options: ReadWeightsOptions): Promise<WeightMap> {
  const indexSource = await repository.open(path, { ...options, maxBytes: weightIndexLimits.bytes })
  if (indexSource.byteLength > weightIndexLimits.bytes)
    throw new CheckpointError(
      'json-too-large',
      `${path} is ${indexSource.byteLength} bytes long; at most ${weightIndexLimits.bytes} are read.`,
      {
        file: path,
        bytes: indexSource.byteLength,
        allowed: weightIndexLimits.bytes,
      },
    )
  return parseWeightIndex(await indexSource.read({ begin: 0, end: indexSource.byteLength }, options), path)
}

/**
 * Chooses the ranges of a file to download: the header and the wanted tensors. Returns null for a file that is downloaded whole: all its
 * tensors are wanted, or some are decoded when they are read.
 */
export function wantedRanges(path: string, isWanted: (name: string) => boolean): ChooseRanges {
  return async (source, options) => {
    const tensors = [...(await readTensorFile(source, path, options)).tensors.values()]
    if (tensors.some((tensor) => tensor.source !== source)) return null
    const wanted = tensors.filter(({ name, begin, end }) => isWanted(name) && end > begin)
    if (wanted.length === tensors.length) return null
    return [{ begin: 0, end: Math.min(source.byteLength, ...tensors.map(({ begin }) => begin)) }, ...wanted]
  }
}

async function readShard(open: OpenShard, path: string, options: OpenOptions): Promise<WeightTable> {
  const source = await open(path, options)
  return (await readTensorFile(source, path, options)).tensors
}

/** The total bytes and elements of all tensors. */
export function measureWeights(table: WeightTable): { readonly bytes: number; readonly parameters: number } {
  let bytes = 0
  let parameters = 0
  for (const entry of table.values()) {
    bytes += entry.end - entry.begin
    parameters += elementCount(entry.shape)
  }
  return { bytes, parameters }
}
