/**
 * A network's weights after transforms, such as quantizing. They are made from the checkpoint tensor by tensor, while it is being
 * downloaded, and kept in the cache as a prepared file, so that the next start reads the prepared file only and no longer needs the
 * original. Without a cache they are made each time they are loaded. In both cases no tensor is in memory as a whole.
 */

import type { OnOverflow } from '../../checkpoint/transforms/cast.js'
import { recipeOf, transformTable, type WeightTransform } from '../../checkpoint/transforms/transform-table.js'
import type { ArrivingTable } from '../../checkpoint/weight-table.js'
import type { SafetensorsDType, TensorEntry, WeightTable } from '../../checkpoint/types.js'
import { AquatintError, CheckpointError } from '../../errors.js'
import { sha256Hex } from '../../hub/cache/file-hasher.js'
import type { Hub } from '../../hub/hub.js'
import { openPrepared } from '../../hub/prepared-file.js'
import type { ByteSource } from '../../hub/types.js'
import type { Run } from '../run.js'

/** A network whose weights are to be transformed. */
export interface TransformRequest {
  readonly component: string
  /** Applied in order. */
  readonly transforms: readonly WeightTransform[]
  /** Identifies which tensors of the original file are read, if the file's contents alone do not determine it. */
  readonly choice?: string | undefined
  /** The result's name in progress events and in the list of cached files, such as `q8`. */
  readonly label: string
  /** The `contentKey` of every weight file. Empty if they are not known before the files are opened. */
  readonly contents: readonly string[]
  /** Opens the original: now, or later if a part of it is needed again. */
  readonly read: (signal: AbortSignal | undefined) => Promise<WeightTable>
  /** Opens the original while it is being downloaded. Absent for a repository that downloads nothing. */
  readonly readArriving?: ((signal: AbortSignal | undefined) => Promise<ArrivingTable>) | undefined
  /** Deletes the original from the cache once the prepared file is complete. Absent to keep the original. */
  readonly drop?: (() => Promise<void>) | undefined
}

/** The transformed weights of a network. */
export interface TransformedWeights {
  readonly table: WeightTable
  /** Allows the cache to evict the prepared file again. */
  readonly release: () => void
}

/** The tensors of a prepared file, recorded so that it can be opened without the original. */
interface TensorRecord {
  readonly version: 1
  readonly tensors: readonly (readonly [name: string, dtype: SafetensorsDType, shape: readonly number[], bytes: number])[]
}

/**
 * Transforms a network's weights, or opens the prepared file of an earlier load. Without `hub` nothing is stored.
 * @throws CheckpointError `weight-not-finite`, `weight-too-large`, `quantized-name`; HubError, StorageError, AbortError
 */
export async function transformWeights(request: TransformRequest, hub: Hub | undefined, run: Run): Promise<TransformedWeights> {
  const { transforms, contents, read } = request
  const prepared = hub === undefined ? undefined : new PreparedWeights(hub, request, run)
  if (prepared !== undefined && contents.length > 0) {
    const made = (await prepared.open()) ?? (await prepared.makeWhileArriving())
    if (made !== undefined) return made
  }
  const original = await read(run.signal)
  const transformed = transformTable(original, transforms)
  const found = new Set([...original.values()].map((entry) => entry.source.contentKey))
  const keys = [...found].filter((key) => key !== undefined)
  // Content without a key (a folder on disk) may change between two loads, so nothing made from it is stored.
  if (prepared === undefined || keys.length < found.size) return { table: transformed, release: () => {} }
  return prepared.make(transformed, keys)
}

/** Warns once about each tensor with values that are too large for float16. */
export function overflowWarning(component: string, run: Run): OnOverflow {
  return (name) =>
    run.warn(
      'weight-overflow',
      `${component}: ${name} has values that float16 cannot hold (over 65504); they are infinite now.`,
      { once: true },
    )
}

/** The prepared file of one network's weights. */
class PreparedWeights {
  readonly #hub: Hub
  readonly #request: TransformRequest
  readonly #run: Run
  readonly #recipe: string

  constructor(hub: Hub, request: TransformRequest, run: Run) {
    this.#hub = hub
    this.#request = request
    this.#run = run
    this.#recipe = recipeOfRequest(request)
  }

  /** Opens the prepared file of an earlier load. Undefined where there is none. */
  async open(): Promise<TransformedWeights | undefined> {
    const { contents, drop } = this.#request
    const known = asTensorRecord(await this.#hub.store.record(await recordKey(this.#recipe, contents)))
    if (known === undefined) return undefined
    const opened = await this.#reopen(known, contents)
    // The original may still be cached: an earlier load may have kept it, been killed before this line, or fetched parts of it again.
    await drop?.()
    return opened
  }

  /**
   * Makes the prepared file while the original is being downloaded. Undefined where the repository downloads nothing, and after an error
   * that unverified bytes may have caused: the caller then starts again from verified ones.
   */
  async makeWhileArriving(): Promise<TransformedWeights | undefined> {
    const { contents, readArriving, transforms } = this.#request
    if (readArriving === undefined) return undefined
    try {
      const { table, verified } = await readArriving(this.#run.signal)
      return await this.make(transformTable(table, transforms), contents, verified)
    } catch (error) {
      if (error instanceof CheckpointError || (error instanceof AquatintError && error.code === 'download-restarted'))
        return undefined
      throw error
    }
  }

  /** Stores the transformed table and records its tensors. `keys`: the content keys of the original's files. */
  async make(table: WeightTable, keys: readonly string[], verified?: ArrivingTable['verified']): Promise<TransformedWeights> {
    const { drop } = this.#request
    const stored = await this.#store(table, keys, verified)
    const tensors = [...table.values()].map(({ name, dtype, shape, begin, end }) => [name, dtype, shape, end - begin] as const)
    const record: TensorRecord = { version: 1, tensors }
    await this.#hub.store.putRecord(await recordKey(this.#recipe, keys), record)
    if (drop === undefined) return stored
    // `stored` still reads missing chunks from the original. A reopened table does not keep the original open, so the original can be
    // deleted.
    const reopened = await this.#reopen(record, keys)
    stored.release()
    await drop()
    return reopened
  }

  #reopen(known: TensorRecord, keys: readonly string[]): Promise<TransformedWeights> {
    const { read, transforms } = this.#request
    const open = async (signal: AbortSignal | undefined) => {
      const table = transformTable(await read(signal), transforms)
      // Earlier versions of Aquatint also quantized tensors that this version does not read, so it cannot make them again. Once the record
      // is deleted, the next load makes a new prepared file.
      const gone = known.tensors.find(([name, , , bytes]) => !hasBytes(table.get(name), bytes))
      if (gone !== undefined) await this.#hub.store.deleteRecord(await recordKey(this.#recipe, keys))
      return table
    }
    return this.#store(lazyTable(known, open), keys)
  }

  async #store(table: WeightTable, keys: readonly string[], verified?: ArrivingTable['verified']): Promise<TransformedWeights> {
    const { component, label } = this.#request
    const parts = [...table.values()]
    const prepared = await openPrepared(
      this.#hub,
      { name: `${component} (${label})`, recipe: this.#recipe, contents: keys.toSorted(), parts, verified },
      { signal: this.#run.signal, onProgress: (file) => this.#run.report({ type: 'file', component, file }) },
    )
    const placed = [...table].map(([name, entry]): [string, TensorEntry] => {
      const { begin, end } = prepared.ranges.get(name) ?? { begin: 0, end: 0 }
      return [name, Object.assign({}, entry, { source: prepared.source, begin, end })]
    })
    return { table: new Map(placed), release: prepared.release }
  }
}

/**
 * The tensors of the prepared file for these transforms and contents, if there is one. Only names, types and shapes can be used: reading
 * a tensor fails.
 */
export async function rememberedTable(
  hub: Hub | undefined,
  request: Pick<TransformRequest, 'transforms' | 'choice' | 'contents'>,
): Promise<WeightTable | undefined> {
  const { contents } = request
  if (hub === undefined || contents.length === 0) return undefined
  const known = asTensorRecord(await hub.store.record(await recordKey(recipeOfRequest(request), contents)))
  return (
    known && lazyTable(known, () => Promise.reject(new TypeError('This table holds no bytes, only the description of tensors.')))
  )
}

function recipeOfRequest({ transforms, choice }: Pick<TransformRequest, 'transforms' | 'choice'>): string {
  const recipe = recipeOf(transforms)
  return choice === undefined ? recipe : JSON.stringify([choice, recipe])
}

/** The store's key of a {@link TensorRecord}. Users' caches have records under this key, so it must not change. */
async function recordKey(recipe: string, contents: readonly string[]): Promise<string> {
  return `quantized ${await sha256Hex(new TextEncoder().encode(JSON.stringify([recipe, contents.toSorted()])))}`
}

function asTensorRecord(value: unknown): TensorRecord | undefined {
  const record = value as TensorRecord | undefined
  return record?.version === 1 && Array.isArray(record.tensors) ? record : undefined
}

function hasBytes(entry: TensorEntry | undefined, byteLength: number): entry is TensorEntry {
  return entry !== undefined && entry.end - entry.begin === byteLength
}

/** A table of recorded tensors whose original is opened only when a tensor has to be made again. */
function lazyTable(known: TensorRecord, open: (signal: AbortSignal | undefined) => Promise<WeightTable>): WeightTable {
  let opened: Promise<WeightTable> | undefined
  const original = (signal: AbortSignal | undefined) => {
    opened ??= open(signal).catch((error: unknown) => {
      // The next read tries again to open the original.
      opened = undefined
      throw error
    })
    return opened
  }
  const source = (name: string, byteLength: number): ByteSource => ({
    byteLength,
    read: async (range, options) => {
      const entry = (await original(options?.signal)).get(name)
      if (!hasBytes(entry, byteLength))
        throw new CheckpointError(
          'tensor-missing',
          `The quantized copy in the cache lost ${byteLength} bytes of ${name}, which this version does not read from the checkpoint. Load the model again to make a new copy.`,
          { tensor: name },
        )
      return entry.source.read({ begin: entry.begin + range.begin, end: entry.begin + range.end }, options)
    },
  })
  return new Map(
    known.tensors.map(([name, dtype, shape, bytes]) => [
      name,
      { name, dtype, shape, source: source(name, bytes), begin: 0, end: bytes },
    ]),
  )
}
