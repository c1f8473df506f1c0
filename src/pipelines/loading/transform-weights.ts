/**
 * A network's weights quantised: made from the checkpoint tensor by tensor, while it is being downloaded, and kept in the cache, so that
 * the next start reads the small form only, and needs the original no more. Without a cache they are made anew each time they are loaded.
 * Either way no tensor is ever whole in memory.
 */

import { convertTable } from '../../checkpoint/transforms/transform-table.js'
import { quantizeVersion } from '../../checkpoint/transforms/quantize-rows.js'
import type { ArrivingTable } from '../../checkpoint/weight-table.js'
import type { SafetensorsDType, TensorEntry, WeightTable } from '../../checkpoint/types.js'
import { AquatintError, CheckpointError } from '../../errors.js'
import { sha256Hex } from '../../hub/cache/file-hasher.js'
import type { Hub } from '../../hub/hub.js'
import { openPrepared } from '../../hub/prepared-file.js'
import type { ByteSource } from '../../hub/types.js'
import { quantizeOptions } from './dtypes.js'
import type { Run } from '../run.js'
import type { QuantizationName } from '../types.js'

/** A network whose weights are wanted small. */
export interface QuantizeRequest {
  readonly component: string
  readonly word: QuantizationName
  /** Names of the contents of all weight files, where they are known before a file is opened; else empty. */
  readonly contents: readonly string[]
  /** Opens the original: now, or later where some of it is needed again. */
  readonly read: (signal: AbortSignal | undefined) => Promise<WeightTable>
  /** Opens it while it comes; absent where it is here. */
  readonly readArriving?: ((signal: AbortSignal | undefined) => Promise<ArrivingTable>) | undefined
  /** Deletes the original from the cache once the small form is there; absent where it stays. */
  readonly drop?: (() => Promise<void>) | undefined
}

export interface QuantizedWeights {
  readonly table: WeightTable
  /** Lets the cache evict the small form again. */
  readonly release: () => void
}

/** What a small form consists of, kept so that it can be opened without the original. */
interface Remembered {
  readonly version: 1
  readonly tensors: readonly (readonly [name: string, dtype: SafetensorsDType, shape: readonly number[], bytes: number])[]
}

type Convert = (original: WeightTable) => WeightTable

/** @throws CheckpointError `weight-not-finite`, `weight-too-large`, `quantized-name`; HubError, StorageError, AbortError */
export async function quantizeWeights(request: QuantizeRequest, hub: Hub | undefined, run: Run): Promise<QuantizedWeights> {
  const { component, word, contents, read } = request
  const onOverflow = (name: string) =>
    run.warn(
      'weight-overflow',
      `${component}: ${name} has values that float16 cannot hold (over 65504); they are infinite now.`,
      {
        once: true,
      },
    )
  const convert: Convert = (original) => convertTable(original, { dtype: 'F16', quantize: quantizeOptions(word), onOverflow })
  const form = hub === undefined ? undefined : new SmallForm(hub, request, convert, run)
  if (form !== undefined && contents.length > 0) {
    const kept = (await form.open()) ?? (await form.makeWhileArriving())
    if (kept !== undefined) return kept
  }
  const original = await read(run.signal)
  const converted = convert(original)
  const found = new Set([...original.values()].map((entry) => entry.source.contentKey))
  const keys = [...found].filter((key) => key !== undefined)
  // A source that nothing names (a folder on disk) may be another one tomorrow.
  if (form === undefined || keys.length < found.size) return { table: converted, release: () => {} }
  return form.make(converted, keys)
}

/** The small form of one network's weights in the cache. */
class SmallForm {
  readonly #hub: Hub
  readonly #request: QuantizeRequest
  readonly #convert: Convert
  readonly #run: Run
  readonly #recipe: string

  constructor(hub: Hub, request: QuantizeRequest, convert: Convert, run: Run) {
    this.#hub = hub
    this.#request = request
    this.#convert = convert
    this.#run = run
    this.#recipe = recipeOf(request.word)
  }

  /** Opens what an earlier load has made. Undefined where none has. */
  async open(): Promise<QuantizedWeights | undefined> {
    const { contents, drop } = this.#request
    const known = asRemembered(await this.#hub.store.record(await recordKey(this.#recipe, contents)))
    if (known === undefined) return undefined
    const opened = await this.#reopen(known, contents)
    // It may be there still: of a load that wanted to keep it, that died before this, or that had to make some of it again.
    await drop?.()
    return opened
  }

  /**
   * Makes it while the original comes. Undefined where the original is here, or where that went wrong in a way that verified bytes may
   * not.
   */
  async makeWhileArriving(): Promise<QuantizedWeights | undefined> {
    const { contents, readArriving } = this.#request
    if (readArriving === undefined) return undefined
    try {
      const { table, verified } = await readArriving(this.#run.signal)
      return await this.make(this.#convert(table), contents, verified)
    } catch (error) {
      if (error instanceof CheckpointError || (error instanceof AquatintError && error.code === 'download-restarted'))
        return undefined
      throw error
    }
  }

  /** Stores the converted table and remembers what it consists of. `keys`: names of the original's contents. */
  async make(table: WeightTable, keys: readonly string[], verified?: ArrivingTable['verified']): Promise<QuantizedWeights> {
    const { drop } = this.#request
    const stored = await this.#store(table, keys, verified)
    const tensors = [...table.values()].map(({ name, dtype, shape, begin, end }) => [name, dtype, shape, end - begin] as const)
    const remembered: Remembered = { version: 1, tensors }
    await this.#hub.store.putRecord(await recordKey(this.#recipe, keys), remembered)
    if (drop === undefined) return stored
    // Opened anew, the small form holds nothing of the original any more.
    const reopened = await this.#reopen(remembered, keys)
    stored.release()
    await drop()
    return reopened
  }

  #reopen(known: Remembered, keys: readonly string[]): Promise<QuantizedWeights> {
    const table = lazyTable(known, async (signal) => this.#convert(await this.#request.read(signal)))
    return this.#store(table, keys)
  }

  async #store(table: WeightTable, keys: readonly string[], verified?: ArrivingTable['verified']): Promise<QuantizedWeights> {
    const { component, word } = this.#request
    const parts = [...table.values()]
    const prepared = await openPrepared(
      this.#hub,
      { name: `${component} (${word})`, recipe: this.#recipe, contents: keys.toSorted(), parts, verified },
      { signal: this.#run.signal, onProgress: (file) => this.#run.report({ type: 'file', component, file }) },
    )
    const placed = [...table].map(([name, entry]): [string, TensorEntry] => {
      const { begin, end } = prepared.ranges.get(name) ?? { begin: 0, end: 0 }
      return [name, Object.assign({}, entry, { source: prepared.source, begin, end })]
    })
    return { table: new Map(placed), release: prepared.release }
  }
}

/** What the small form of these contents consists of, where it was made and is remembered; to look at, not to read from. */
export async function rememberedTable(
  hub: Hub | undefined,
  word: QuantizationName,
  contents: readonly string[],
): Promise<WeightTable | undefined> {
  if (hub === undefined || contents.length === 0) return undefined
  const known = asRemembered(await hub.store.record(await recordKey(recipeOf(word), contents)))
  return known && lazyTable(known, () => Promise.reject(new TypeError('This table is only to look at.')))
}

function recipeOf(word: QuantizationName): string {
  return JSON.stringify({ kind: 'quantize', version: quantizeVersion, rest: 'F16', ...quantizeOptions(word) })
}

async function recordKey(recipe: string, contents: readonly string[]): Promise<string> {
  return `quantized ${await sha256Hex(new TextEncoder().encode(JSON.stringify([recipe, contents.toSorted()])))}`
}

function asRemembered(value: unknown): Remembered | undefined {
  const record = value as Remembered | undefined
  return record?.version === 1 && Array.isArray(record.tensors) ? record : undefined
}

/** The table of a small form that opens the original only where some of it has to be made again. */
function lazyTable(known: Remembered, open: (signal: AbortSignal | undefined) => Promise<WeightTable>): WeightTable {
  let opened: Promise<WeightTable> | undefined
  const original = (signal: AbortSignal | undefined) => {
    opened ??= open(signal).catch((error: unknown) => {
      // The next read tries again.
      opened = undefined
      throw error
    })
    return opened
  }
  const source = (name: string, byteLength: number): ByteSource => ({
    byteLength,
    read: async (range, options) => {
      const entry = (await original(options?.signal)).get(name)
      if (entry === undefined || entry.end - entry.begin !== byteLength)
        throw new CheckpointError('tensor-missing', `The checkpoint has no ${name} of ${byteLength} bytes any more.`, {
          tensor: name,
        })
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
