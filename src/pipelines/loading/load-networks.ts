/** Opens the weights of a pipeline's networks: chooses the files, reads their headers, and applies the transforms that `dtype` calls for. */

import type { ComponentWeights } from '../../checkpoint/layouts/layout.js'
import { castWeights } from '../../checkpoint/transforms/cast.js'
import { quantizeBlocks, type OnRequantized } from '../../checkpoint/transforms/quantize-blocks.js'
import { transformTable } from '../../checkpoint/transforms/transform-table.js'
import type { CheckpointNote, WeightTable } from '../../checkpoint/types.js'
import { measureWeights } from '../../checkpoint/weight-table.js'
import { CheckpointError } from '../../errors.js'
import { hashKey } from '../../hub/stored-file.js'
import type { FileProgress } from '../../hub/types.js'
import { unexpectedTensors, type Network } from '../bind-network.js'
import { NetworkAdapters } from '../network-adapters.js'
import type { Run } from '../run.js'
import type { LoadPipelineOptions, QuantizationName } from '../types.js'
import { elementCount } from '../../util/element-count.js'
import { dtypesOf, quantizingTransforms } from './dtypes.js'
import { attempt, throwFault, type NetworkSource, type OnFault } from './read-parts.js'
import { overflowWarning, type TransformRequest } from './transform-weights.js'

/** A network whose weights are to be transformed, and the paths of its weight files, each with the name of its repository in front. */
export interface TableRequest extends TransformRequest {
  readonly paths: readonly string[]
}

/** Makes a network's table of transformed weights. */
export type MakeTable = (request: TableRequest) => Promise<WeightTable>

/** What {@link loadNetworks} loads. */
export interface LoadNetworksRequest {
  readonly sources: readonly NetworkSource[]
  readonly options: Pick<LoadPipelineOptions, 'variant' | 'dtype' | 'keepOriginal'>
  readonly makeTable: MakeTable
  readonly run: Run
  /** Called with an error in a single network, which is then left out. By default the first error is thrown. */
  readonly onFault?: OnFault | undefined
}

/** Opens the networks' weights. @throws HubError, CheckpointError, UnsupportedError, InputError, AbortError */
export async function loadNetworks(request: LoadNetworksRequest): Promise<ReadonlyMap<string, Network>> {
  const { sources, options, run, onFault = throwFault } = request
  run.status(
    'downloading',
    sources.map(({ name }) => name),
  )
  const chosen = (await Promise.all(sources.map((source) => attempt(source.name, onFault, () => choose(source, run))))).filter(
    (found) => found !== undefined,
  )
  if (options.variant !== undefined) await checkVariant(chosen, options.variant, run)
  const dtypes = dtypesOf(options.dtype, sources)
  const networks = await Promise.all(
    chosen.map(({ source, weights }) =>
      attempt(source.name, onFault, async (): Promise<readonly [string, Network]> => {
        const { name, model, bits, files } = source
        const { compute, quantization: wanted } = dtypes.get(name) ?? {}
        // Weights that the checkpoint has quantized stay as they are.
        const quantization = bits === null ? wanted : undefined
        const stored = bits === null && compute === undefined && model.quantizable ? weights.stored : undefined
        const table = await loadTable(source, weights, stored === undefined ? quantization : 'stored', request)
        const adapters = new NetworkAdapters(table, model)
        const network: Network = {
          name,
          model,
          table: adapters.table,
          adapters,
          repo: files.repository.id,
          dtype: stored === undefined ? compute : 'float16',
          quantization: bits === null && stored === undefined ? quantization : `q${bits ?? stored ?? 8}`,
        }
        warnOfUnexpected(network, run)
        return [name, network]
      }),
    ),
  )
  return new Map(networks.filter((network) => network !== undefined))
}

/** A network and its chosen weights. */
interface Chosen {
  readonly source: NetworkSource
  readonly weights: ComponentWeights
}

async function choose(source: NetworkSource, { signal }: Run): Promise<Chosen> {
  const { files, model, variant, missingVariant } = source
  return { source, weights: await files.chooseWeights({ library: model.library, variant, missingVariant }, { signal }) }
}

/** Warns where some networks lack the variant. @throws CheckpointError `variant-not-found` where all networks of the checkpoint lack it */
async function checkVariant(chosen: readonly Chosen[], variant: string, run: Run): Promise<void> {
  const { signal } = run
  const own = chosen.filter(({ source }) => !source.swapped)
  const without = own.filter(({ weights }) => weights.variant === null)
  if (own.length > 0 && without.length === own.length) {
    const variants = await Promise.all(own.map(({ source }) => source.files.variants(source.model.library, { signal })))
    throw new CheckpointError('variant-not-found', `The repository has no weights of variant ${variant}.`, {
      variant,
      available: [...new Set(variants.flat())],
    })
  }
  if (without.length > 0)
    run.warn(
      'variant-mixture',
      `There are no weights of variant ${variant} for ${without.map(({ source }) => source.name).join(', ')}; those without a variant are used.`,
    )
}

/** The table of the chosen weights. If they are to be quantized, `makeTable` makes it. */
async function loadTable(
  source: NetworkSource,
  weights: ComponentWeights,
  quantization: QuantizationName | 'stored' | undefined,
  { options, makeTable, run }: LoadNetworksRequest,
): Promise<WeightTable> {
  const { name, model } = source
  const { skipped } = model.weights
  const isWanted = (tensor: string) => skipped?.patterns.some((pattern) => pattern.test(tensor)) !== true
  const wanted = (table: WeightTable) => new Map([...table].filter(([tensor]) => isWanted(tensor)))
  const reading = (signal: AbortSignal | undefined) => ({
    signal,
    isWanted: skipped && isWanted,
    onProgress: (file: FileProgress) => run.report({ type: 'file', component: name, file }),
    onNote: (note: CheckpointNote) => run.note(name, note),
  })
  const read = async (signal: AbortSignal | undefined) => wanted(await weights.read(reading(signal)))
  if (quantization === undefined) return transformTable(await read(run.signal), weights.transforms)
  return makeTable({
    component: name,
    choice: skipped?.choice,
    transforms: [
      ...weights.transforms,
      ...(quantization === 'stored'
        ? [quantizeBlocks(model.sensitive?.kept, requantizedNote(name, run)), castWeights('F16', overflowWarning(name, run))]
        : quantizingTransforms(quantization, model.sensitive, overflowWarning(name, run))),
    ],
    label: quantization === 'stored' ? 'blocks' : quantization,
    contents: await contentsOf(source, weights, run.signal),
    // Two repositories may have files with the same path.
    paths: (await weights.files({ signal: run.signal })).map((path) => `${source.files.repository.id}/${path}`),
    read,
    readArriving: async (signal) => {
      const { table, verified } = await weights.readArriving(reading(signal))
      return { table: wanted(table), verified }
    },
    drop: options.keepOriginal === false ? () => dropFiles(source, weights) : undefined,
  })
}

/** Records a note with the error, when weights of a GGUF block type that Aquatint does not have are quantized again. */
function requantizedNote(name: string, run: Run): OnRequantized {
  return (type, bits, error) => {
    const percent = `${Number((100 * error).toPrecision(2))} %`
    run.note(name, {
      code: 'weights-requantized',
      message: `Weights in blocks of ${type} were quantized again, to q${bits}. Their error is ${percent} (root mean square, measured on the first ones).`,
      values: { [type]: `q${bits}, ${percent}` },
    })
  }
}

function warnOfUnexpected(network: Network, run: Run): void {
  const { name, model, table } = network
  const unexpected = unexpectedTensors(network)
  if (unexpected.length === 0) return
  const shown = unexpected.slice(0, 20).map((tensor) => {
    const entry = table.get(tensor)
    return [tensor, entry === undefined ? '' : `${entry.dtypeName ?? entry.dtype} [${entry.shape.join(', ')}]`] as const
  })
  run.note(name, {
    code: 'unexpected-tensors',
    message: `${unexpected.length} ${unexpected.length === 1 ? 'tensor is' : 'tensors are'} no part of ${model.className} and not used, such as ${unexpected.slice(0, 3).join(', ')}.`,
    values: Object.fromEntries(shown),
  })
}

/** The content keys of all weight files; none where the repository's listing has no hash for one of them. */
async function contentsOf(
  { files: { repository } }: NetworkSource,
  weights: ComponentWeights,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  const hashes = new Map((await repository.files({ signal })).map((file) => [file.path, file.sha256]))
  const keys = (await weights.files({ signal })).map((path) => hashes.get(path))
  return keys.every((hash) => hash !== undefined) ? keys.map((hash) => hashKey({ algorithm: 'sha256', hex: hash })) : []
}

async function dropFiles({ files: { repository } }: NetworkSource, weights: ComponentWeights): Promise<void> {
  for (const path of await weights.files()) await repository.drop?.(path)
}

/** Bytes of a network's weights as they are stored, and the number of its parameters. A quantized weight has as many as unquantized. */
export function measureNetwork({ table }: Pick<Network, 'table'>): { readonly bytes: number; readonly parameters: number } {
  const { bytes } = measureWeights(table)
  let parameters = 0
  for (const { name, shape } of table.values()) {
    if (/\.weight_(?:scale|zero_point)$/.test(name)) continue
    // Codes are [rows, blocks, bytes]. A network may have codes of 4 bits and of 8 bits, but each block holds 32 weights.
    const counted = table.has(`${name}_scale`) ? [...shape.slice(0, 2), 32] : shape
    parameters += elementCount(counted)
  }
  return { bytes, parameters }
}
