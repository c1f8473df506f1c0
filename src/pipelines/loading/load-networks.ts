/**
 * From a repository's name to everything a pipeline runs with: model_index.json, the components' classes and configs, the weight
 * tables, tokenizers, the scheduler's config, and the device. What cannot be run is refused before any weights are fetched. Knows no
 * pipeline's order of work.
 */

import { readConfig, type ModelIndex } from '../../checkpoint/layouts/model-index.js'
import { readQuantizationConfig, type ReadQuantization } from '../../checkpoint/quantization-config.js'
import { chooseWeightFiles, listVariants, type WeightFiles } from '../../checkpoint/weight-files.js'
import { listWeightFiles, measureWeights, readArrivingTable, readWeightTable } from '../../checkpoint/weight-table.js'
import type { Config, WeightTable, WeightLibrary } from '../../checkpoint/types.js'
import { CheckpointError, InputError, UnsupportedError } from '../../errors.js'
import { hashKey } from '../../hub/remote-file.js'
import type { FileProgress, Repository } from '../../hub/types.js'
import { createScheduler, schedulerClassNames } from '../../schedulers/registry.js'
import { throwIfAborted } from '../../util/abort.js'
import { dtypesOf, quantizingTransforms } from './dtypes.js'
import { findComponents, inFolder, type ComponentSource, type OpenByName } from './component-sources.js'
import type { Tokenizer, TokenizerDefinition } from '../../tokenizers/types.js'
import { loadTokenizer } from './load-tokenizer.js'
import type { NetworkDefinition, NetworkModel } from '../../models/types.js'
import { readModel, unexpectedTensors, type Network } from '../bind-network.js'
import { overflowWarning, type TransformRequest } from './transform-weights.js'
import type { Run } from '../run.js'
import type { LoadPipelineOptions, QuantizationName } from '../types.js'

/** What a pipeline class is made of, by component name. */
export interface PipelineSpec {
  readonly className: string
  /** Network components and the classes each may have. */
  readonly networks: Readonly<Record<string, readonly NetworkDefinition[]>>
  /** Tokenizers and the classes each may have. */
  readonly tokenizers: Readonly<Record<string, readonly TokenizerDefinition[]>>
  /** Components that may be missing; a tokenizer may where its text encoder is. */
  readonly optional: readonly string[]
  /** Components that repositories have and this pipeline never uses, with what that means. */
  readonly ignored: Readonly<Record<string, string>>
}

/** Makes a network's table of transformed weights. */
export type MakeTable = (request: TransformRequest) => Promise<WeightTable>

/** The parts of a pipeline, read and checked. */
export interface LoadedParts {
  readonly repository: Repository
  readonly index: ModelIndex
  readonly networks: ReadonlyMap<string, Network>
  readonly tokenizers: ReadonlyMap<string, Tokenizer>
  readonly scheduler: { readonly className: string; readonly config: Config }
}

/** The parts of a pipeline but for the networks' weights, and where those are. */
export interface ReadParts extends Omit<LoadedParts, 'networks'> {
  readonly sources: readonly NetworkSource[]
}

/** A network whose config has been read, and whose weights have not. */
export interface NetworkSource extends ComponentSource {
  readonly model: NetworkModel
  /** How its Linear weights are quantized in the checkpoint; null where they are not. */
  readonly bits: ReadQuantization['bits']
}

/** Loads all parts. @throws HubError, CheckpointError, UnsupportedError, InputError, AbortError */
export async function loadParts(
  repository: Repository,
  index: ModelIndex,
  spec: PipelineSpec,
  options: LoadPipelineOptions,
  open: OpenByName,
  makeTable: MakeTable,
  run: Run,
): Promise<LoadedParts> {
  const parts = await readParts(repository, index, spec, options, open, run)
  return { ...parts, networks: await loadNetworks(parts, options, makeTable, run) }
}

/** Reads what is no weights. @throws as {@link loadParts} */
export async function readParts(
  repository: Repository,
  index: ModelIndex,
  spec: PipelineSpec,
  options: LoadPipelineOptions,
  open: OpenByName,
  run: Run,
): Promise<ReadParts> {
  const { signal } = run
  const found = await findComponents(repository, index, options, open, Object.keys(spec.ignored), signal)
  // A tokenizer whose text encoder is left out has nobody to read for: it need not be one that can be read.
  const sources = new Map([...found].filter(([name]) => spec.tokenizers[name] === undefined || found.has(encoderOf(name))))
  checkClasses(sources, spec, index, options.scheduler !== undefined)
  for (const [name, meaning] of Object.entries(spec.ignored))
    if (sources.has(name)) run.warn('component-ignored', `${name}: ${meaning}`)

  const schedulerSource = sources.get('scheduler')
  if (schedulerSource === undefined) throw missingComponent(spec, 'scheduler')
  const scheduler = await readScheduler(schedulerSource, options.scheduler, run)

  const networkSources = await Promise.all(
    Object.entries(spec.networks).flatMap(([name, definitions]) => {
      const source = sources.get(name)
      const definition = definitions.find(({ className }) => className === source?.className)
      return source === undefined || definition === undefined ? [] : [readNetworkSource(source, definition, signal)]
    }),
  )
  const tokenizers = new Map(
    await Promise.all(
      Object.entries(spec.tokenizers).flatMap(([name, definitions]) => {
        const source = sources.get(name)
        const definition = definitions.find(({ classNames }) => source !== undefined && classNames.includes(source.className))
        return source === undefined || definition === undefined
          ? []
          : [loadTokenizer(definition, source, signal).then((tokenizer) => [name, tokenizer] as const)]
      }),
    ),
  )
  throwIfAborted(signal)
  return { repository, index, sources: networkSources, tokenizers, scheduler }
}

async function readNetworkSource(
  source: ComponentSource,
  definition: NetworkDefinition,
  signal: AbortSignal | undefined,
): Promise<NetworkSource> {
  const { config, bits } = readQuantizationConfig(
    await readConfig(source.repository, inFolder(source, 'config.json'), { signal }),
  )
  return { ...source, model: readModel(definition, config), bits }
}

/** The text encoder that reads a tokenizer's ids: `text_encoder_3` of `tokenizer_3`. */
function encoderOf(tokenizer: string): string {
  return tokenizer.replace('tokenizer', 'text_encoder')
}

/** The classes that a component may have; undefined for components that the pipeline does not use. */
function supportedClasses(spec: PipelineSpec, name: string): readonly string[] | undefined {
  // Own properties only: names come from an untrusted file, and every object has a `constructor`.
  if (Object.hasOwn(spec.networks, name)) return spec.networks[name]?.map(({ className }) => className)
  if (Object.hasOwn(spec.tokenizers, name)) return spec.tokenizers[name]?.flatMap(({ classNames }) => classNames)
  return name === 'scheduler' ? schedulerClassNames : undefined
}

/** @throws UnsupportedError `unsupported-class`; CheckpointError `component-missing`; InputError `components` */
function checkClasses(
  sources: ReadonlyMap<string, ComponentSource>,
  spec: PipelineSpec,
  index: ModelIndex,
  schedulerReplaced: boolean,
): void {
  for (const [name, { className }] of sources) {
    if (name === 'scheduler' && schedulerReplaced) continue
    const supported = supportedClasses(spec, name)
    if (supported === undefined) {
      if (!Object.hasOwn(spec.ignored, name))
        refuseClass(name, className, [...Object.keys(spec.networks), ...Object.keys(spec.ignored)])
    } else if (!supported.includes(className)) refuseClass(name, className, supported)
  }
  for (const name of [...Object.keys(spec.networks), ...Object.keys(spec.tokenizers), 'scheduler']) {
    const needed = spec.tokenizers[name] === undefined ? !spec.optional.includes(name) : sources.has(encoderOf(name))
    if (sources.has(name) || !needed) continue
    if (index.components.get(name))
      throw new InputError('components', `${spec.className} cannot run without ${name}.`, { component: name })
    throw missingComponent(spec, name)
  }
}

/** The repository's scheduler, or the one that the caller puts in its place with the repository's config (`from_config`). */
async function readScheduler(
  source: ComponentSource,
  replacement: LoadPipelineOptions['scheduler'],
  run: Run,
): Promise<LoadedParts['scheduler']> {
  const own = await readConfig(source.repository, inFolder(source, 'scheduler_config.json'), { signal: run.signal })
  const { className, config } =
    replacement === undefined
      ? { className: source.className, config: own }
      : { ...replacement, config: { ...own, ...replacement.config } }
  const { unexpectedKeys } = createScheduler(className, config)
  if (unexpectedKeys.length > 0)
    run.warn('scheduler-keys', `The scheduler's config has keys that ${className} does not know: ${unexpectedKeys.join(', ')}.`)
  return { className, config }
}

function refuseClass(component: string, className: string, supported: readonly string[]): never {
  throw new UnsupportedError(
    'unsupported-class',
    `The component ${component} is of class ${className}, which is not supported; supported: ${supported.join(', ')}.`,
    { component, className, supported },
  )
}

function missingComponent(spec: PipelineSpec, name: string): CheckpointError {
  return new CheckpointError('component-missing', `model_index.json names no ${name}, which ${spec.className} needs.`, {
    component: name,
  })
}

/** Opens the networks' weight files. @throws as {@link loadParts} */
export async function loadNetworks(
  { sources }: Pick<ReadParts, 'sources'>,
  options: LoadPipelineOptions,
  makeTable: MakeTable,
  run: Run,
): Promise<ReadonlyMap<string, Network>> {
  const { signal } = run
  run.status('downloading')
  const chosen = await Promise.all(
    sources.map(async (source) => {
      const paths = (await source.repository.files({ signal })).map((file) => file.path)
      const { folder, variant, missingVariant, model } = source
      const { library } = model
      return { source, paths, library, files: chooseWeightFiles(paths, { folder, library, variant, missingVariant }) }
    }),
  )
  if (options.variant !== undefined) checkVariant(chosen, options.variant, run)
  const dtypes = dtypesOf(options.dtype, sources)
  const networks = await Promise.all(
    chosen.map(async ({ source, files }): Promise<readonly [string, Network]> => {
      const { model, bits } = source
      const { compute, quantization: wanted } = dtypes.get(source.name) ?? {}
      // A checkpoint that is quantised already stays as it is.
      const word = bits === null ? wanted : undefined
      const network: Network = {
        name: source.name,
        model,
        table: await loadTable(source, files, word, options, makeTable, run),
        repo: source.repository.id,
        dtype: compute,
        quantization: bits === null ? word : `q${bits}`,
      }
      warnOfUnexpected(network, run)
      return [source.name, network]
    }),
  )
  return new Map(networks)
}

/** A network's weight files, and all paths of the repository that they were chosen from. */
interface ChosenFiles {
  readonly source: NetworkSource
  readonly paths: readonly string[]
  readonly library: WeightLibrary
  readonly files: WeightFiles
}

/** @throws CheckpointError `variant-not-found` where no network of the repository has it; where some have not, that is warned of */
function checkVariant(chosen: readonly ChosenFiles[], variant: string, run: Run): void {
  const own = chosen.filter(({ source }) => !source.swapped)
  const without = own.filter(({ files }) => files.variant === null)
  if (own.length > 0 && without.length === own.length)
    throw new CheckpointError('variant-not-found', `The repository has no weights of variant ${variant}.`, {
      variant,
      available: [...new Set(own.flatMap(({ paths, source, library }) => listVariants(paths, source.folder, library)))],
    })
  if (without.length > 0)
    run.warn(
      'variant-mixture',
      `There are no weights of variant ${variant} for ${without.map(({ source }) => source.name).join(', ')}; those without a variant are used.`,
    )
}

/** The table of a network's weight files, or what `makeTable` makes of them where `word` says to quantize. */
async function loadTable(
  { repository, name }: ComponentSource,
  files: WeightFiles,
  word: QuantizationName | undefined,
  options: LoadPipelineOptions,
  makeTable: MakeTable,
  run: Run,
): Promise<WeightTable> {
  const reading = (signal: AbortSignal | undefined) => ({
    signal,
    onProgress: (file: FileProgress) => run.report({ type: 'file', component: name, file }),
  })
  const read = (signal: AbortSignal | undefined) => readWeightTable(repository, files, reading(signal))
  if (word === undefined) return read(run.signal)
  return makeTable({
    component: name,
    transforms: quantizingTransforms(word, overflowWarning(name, run)),
    label: word,
    contents: await contentsOf(repository, files, run.signal),
    read,
    readArriving: (signal) => readArrivingTable(repository, files, reading(signal)),
    drop: options.keepOriginal === false ? () => dropFiles(repository, files) : undefined,
  })
}

function warnOfUnexpected(network: Network, run: Run): void {
  const { name, model } = network
  const unexpected = unexpectedTensors(network)
  if (unexpected.length > 0)
    run.warn(
      'unexpected-tensors',
      `${name} has ${unexpected.length} tensors that ${model.className} does not use, such as ${unexpected.slice(0, 3).join(', ')}.`,
    )
}

/** Names of the contents of all weight files, or none where the repository's listing does not tell. */
async function contentsOf(
  repository: Repository,
  files: WeightFiles,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  const hashes = new Map((await repository.files({ signal })).map((file) => [file.path, file.sha256]))
  const keys = (await listWeightFiles(repository, files, { signal })).map((path) => hashes.get(path))
  return keys.every((hash) => hash !== undefined) ? keys.map((hash) => hashKey({ algorithm: 'sha256', hex: hash })) : []
}

async function dropFiles(repository: Repository, files: WeightFiles): Promise<void> {
  for (const path of await listWeightFiles(repository, files)) await repository.drop?.(path)
}

/** Bytes of a network's weights as they are stored, and its parameters: of quantised weights those that they stand for. */
export function measureNetwork({ table, quantization }: Network): { readonly bytes: number; readonly parameters: number } {
  const { bytes } = measureWeights(table)
  const codesPerByte = quantization === 'q4' ? 2 : 1
  let parameters = 0
  for (const { name, shape } of table.values()) {
    if (/\.weight_(?:scale|zero_point)$/.test(name)) continue
    parameters += shape.reduce((product, dim) => product * dim, table.has(`${name}_scale`) ? codesPerByte : 1)
  }
  return { bytes, parameters }
}
