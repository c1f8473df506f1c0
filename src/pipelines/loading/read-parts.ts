/**
 * Reads everything of a pipeline but the weights: the classes and configs of its components, tokenizers and the scheduler's config. A
 * class or a config that cannot be run is refused here, before any weights are downloaded.
 */

import type { PipelineSpec } from '../pipeline-spec.js'
import type { Layout } from '../../checkpoint/layouts/layout.js'
import { readQuantizationConfig, type ReadQuantization } from '../../checkpoint/quantization-config.js'
import { withoutDefaulted } from '../../checkpoint/read-config.js'
import type { Config } from '../../checkpoint/types.js'
import { CheckpointError, InputError, UnsupportedError, type AquatintError } from '../../errors.js'
import { createScheduler, schedulerClassNames, schedulerRefusal } from '../../schedulers/registry.js'
import type { Tokenizer } from '../../tokenizers/types.js'
import type { AddedWords } from '../added-words.js'
import { throwIfAborted } from '../../util/abort.js'
import { networkRefusal } from '../../models/registry.js'
import type { AutoencoderModel, NetworkDefinition, NetworkModel } from '../../models/types.js'
import { shown } from '../../models/config-reader.js'
import { readModel, type Network } from '../bind-network.js'
import type { Run } from '../run.js'
import type { LoadPipelineOptions } from '../types.js'
import { findMisfit, noteSize } from './check-fit.js'
import { findComponents, type ComponentSource, type OpenByName } from './find-components.js'
import { loadTokenizer } from './load-tokenizer.js'

/** A network whose config has been read, and whose weights have not. */
export interface NetworkSource extends ComponentSource {
  readonly model: NetworkModel
  /** Bits of the Linear weights if they are quantized in the checkpoint, otherwise null. */
  readonly bits: ReadQuantization['bits']
}

/** A scheduler's class and its config. */
export interface NamedScheduler {
  readonly className: string
  readonly config: Config
}

/** Everything that a pipeline class is constructed from, except devices. */
export interface LoadedParts extends Omit<ReadParts, 'sources'> {
  readonly networks: ReadonlyMap<string, Network>
}

/** The parts of a pipeline, without the weights of its networks. */
export interface ReadParts {
  readonly layout: Layout
  readonly sources: readonly NetworkSource[]
  readonly tokenizers: ReadonlyMap<string, Tokenizer>
  /** Learned words, by the name of the text encoder. The code that creates the text encoders fills the map. */
  readonly words: Map<string, AddedWords>
  readonly scheduler: NamedScheduler
}

/** What {@link readParts} reads. */
export interface ReadPartsRequest {
  readonly layout: Layout
  readonly spec: PipelineSpec
  readonly options: LoadPipelineOptions
  /** Opens the repositories that the option `components` names. */
  readonly open: OpenByName
  readonly run: Run
}

/** Receives an error of one component. It throws to end the work, or returns to continue with the other components. */
export type OnFault = (component: string, error: unknown) => void

/** Throws the error, so that a load ends at its first error. */
export const throwFault: OnFault = (_, error) => {
  throw error
}

/** Does `work` for one component. Returns undefined if `work` failed and `onFault` returned. */
export async function attempt<T>(component: string, onFault: OnFault, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    onFault(component, error)
    return undefined
  }
}

/** Reads all parts. @throws HubError, CheckpointError, UnsupportedError, InputError, AbortError */
export async function readParts(request: ReadPartsRequest): Promise<ReadParts> {
  const parts = await readPartsWithFaults(request, throwFault)
  const { scheduler } = parts
  if (scheduler === undefined) throw missingComponent(request.spec, 'scheduler')
  return { ...parts, scheduler }
}

/** Reads the parts that can be read and reports the others to `onFault`. @throws what `onFault` throws; InputError, AbortError */
export async function readPartsWithFaults(
  { layout, spec, options, open, run }: ReadPartsRequest,
  onFault: OnFault,
): Promise<Omit<ReadParts, 'scheduler'> & { readonly scheduler: NamedScheduler | undefined }> {
  const { signal } = run
  const found = await findComponents({ layout, options, open, spec, signal })
  // A tokenizer whose text encoder is left out is not used, so its class need not be supported.
  const needed = new Map([...found].filter(([name]) => spec.tokenizers[name] === undefined || found.has(encoderOf(name))))
  const faulty = new Set<string>()
  for (const [name, fault] of classFaults(needed, spec, layout, options.scheduler !== undefined)) {
    onFault(name, fault)
    faulty.add(name)
  }
  const sources = new Map([...needed].filter(([name]) => !faulty.has(name)))
  for (const source of sources.values()) noteSource(source, spec, run)

  const schedulerSource = sources.get('scheduler')
  const scheduler =
    schedulerSource && (await attempt('scheduler', onFault, () => readScheduler(schedulerSource, spec, options.scheduler, run)))
  const networks = await Promise.all(
    Object.entries(spec.networks).flatMap(([name, definitions]) => {
      const source = sources.get(name)
      const definition = definitions.find(({ className }) => className === source?.className)
      return source === undefined || definition === undefined
        ? []
        : [attempt(name, onFault, () => readNetworkSource(source, definition, run))]
    }),
  )
  const tokenizers = await Promise.all(
    Object.entries(spec.tokenizers).flatMap(([name, definitions]) => {
      const source = sources.get(name)
      const definition = definitions.find(({ classNames }) => source !== undefined && classNames.includes(source.className))
      return source === undefined || definition === undefined
        ? []
        : [attempt(name, onFault, async () => [name, await loadTokenizer(definition, source.files, signal)] as const)]
    }),
  )
  throwIfAborted(signal)
  const read = networks.filter(isThere)
  const isComplete = Object.keys(spec.networks).every(
    (name) => !needed.has(name) || read.some((network) => network.name === name),
  )
  const models = new Map(read.map(({ name, model }) => [name, model]))
  const misfit = findMisfit(models, spec, isComplete)
  if (misfit !== undefined) onFault(misfit.component, misfit.error)
  const size = noteSize(models)
  if (size !== undefined) run.note(size.component, size.note)
  for (const { name, model } of read)
    if (model.role === 'autoencoder') noteUnused(name, spec.className, unusedStatistics(model, spec), run)
  return { layout, sources: read, tokenizers: new Map(tokenizers.filter(isThere)), words: new Map(), scheduler }
}

function isThere<T>(value: T | undefined): value is T {
  return value !== undefined
}

/** Records a note if a component is not used, or if it is a part of the model that its config describes. */
function noteSource({ name, className, takenFrom }: ComponentSource, spec: PipelineSpec, run: Run): void {
  if (Object.hasOwn(spec.ignored, name)) {
    run.note(name, { code: 'component-ignored', message: spec.ignored[name] ?? '', values: { [className]: 'ignored' } })
  } else if (supportedClasses(spec, name) === undefined) {
    const message = `${spec.className} has no component of this name. It is ignored, as in diffusers.`
    run.note(name, { code: 'component-unknown', message, values: { [className]: 'ignored' } })
  } else if (takenFrom !== undefined) {
    const message = `The config is that of a ${takenFrom}, of which ${className} is a part. That part is used.`
    run.note(name, { code: 'class-replaced', message, values: { [takenFrom]: className } })
  }
}

/**
 * Reads and checks a network's config. Records a note about keys that its class does not have. @throws HubError; CheckpointError `invalid-config`;
 * UnsupportedError `unsupported-config`
 */
export async function readNetworkSource(
  source: ComponentSource,
  definition: NetworkDefinition,
  run: Run,
): Promise<NetworkSource> {
  const own = await source.files.readConfig('config.json', { signal: run.signal })
  if (definition.library === 'transformers') await checkFilesBeside(source, definition.className, own, run)
  const { config: given, defaulted } = definition.library === 'diffusers' ? withoutDefaulted(own) : { config: own, defaulted: {} }
  const { config, bits } = readQuantizationConfig(given)
  const model = readModel(definition, config)
  const ignored = Object.entries(model.ignoredKeys)
  if (ignored.length > 0)
    run.note(source.name, {
      code: 'config-keys',
      message: `${model.className} does not have the config keys ${listKeys(ignored)}. They are ignored, as in ${model.library}.`,
      values: Object.fromEntries(ignored.map(([key, value]) => [key.slice(0, 100), shown(value)])),
    })
  noteUnused(source.name, model.className, { ...model.unusedValues, ...defaulted }, run)
  return { ...source, model, bits }
}

/** Refuses files that transformers reads in place of a config, or adds to the weights. @throws UnsupportedError `unsupported-config` */
async function checkFilesBeside({ name, files }: ComponentSource, className: string, config: Config, run: Run): Promise<void> {
  const key = 'configuration_files'
  const named: unknown = config[key]
  if (Array.isArray(named) && named.some((file) => typeof file === 'string' && /^config\..+\.json$/.test(file)))
    throw new UnsupportedError(
      'unsupported-config',
      `${className}: config key ${key} is ${shown(named)}: transformers reads one of these files in place of config.json; supported: null`,
      { component: name, className, key, value: shown(named), allowed: [null] },
    )
  const adapter = 'adapter_config.json'
  if (await files.has(adapter, { signal: run.signal }))
    throw new UnsupportedError(
      'unsupported-config',
      `${files.path(adapter)} makes transformers add an adapter to the weights of ${className}, which Aquatint does not do. Remove the file from the folder; if the adapter is a LoRA, load it with loadLoraWeights.`,
      { component: name, className, key: adapter, allowed: [null] },
    )
}

/** The statistics in an autoencoder's config that the pipeline does not use to scale the latents. */
function unusedStatistics({ scaling }: AutoencoderModel, { latentStatistics = [] }: PipelineSpec): Config {
  const read: readonly string[] = latentStatistics
  return Object.fromEntries(Object.entries(scaling.given ?? {}).filter(([key]) => !read.includes(key)))
}

/** Records a note about config values that have no effect: the class never reads them, or another key switches them off. */
function noteUnused(component: string, className: string, values: Config, run: Run): void {
  const unused = Object.entries(values)
  if (unused.length === 0) return
  run.note(component, {
    code: 'config-values',
    message: `The config values ${listKeys(unused)} have no effect on ${className}: another value switches them off, or the class never reads them. Aquatint ignores them, as diffusers does.`,
    values: Object.fromEntries(unused.map(([key, value]) => [key, shown(value)])),
  })
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

/** Components that the pipeline needs and the checkpoint lacks, and components of classes that the pipeline cannot run. */
function* classFaults(
  sources: ReadonlyMap<string, ComponentSource>,
  spec: PipelineSpec,
  layout: Layout,
  schedulerReplaced: boolean,
): Generator<readonly [component: string, fault: AquatintError]> {
  for (const [name, { className, library }] of sources) {
    if (name === 'scheduler' && schedulerReplaced) continue
    const supported = supportedClasses(spec, name)
    if (supported === undefined) continue
    if (library !== null && !/^(?:diffusers|transformers)(?:\.\w+)*$/.test(library))
      yield [name, ownCode(name, library, className)]
    else if (!supported.includes(className)) yield [name, unsupportedClass(name, className, supported)]
  }
  for (const name of [...Object.keys(spec.networks), ...Object.keys(spec.tokenizers), 'scheduler']) {
    const needed = spec.tokenizers[name] === undefined ? !spec.optional.includes(name) : sources.has(encoderOf(name))
    if (sources.has(name) || !needed) continue
    yield [
      name,
      layout.components.get(name)
        ? new InputError('components', `${spec.className} cannot run without ${name}.`, { component: name })
        : missingComponent(spec, name),
    ]
  }
}

/** The checkpoint's scheduler, or the class that the caller replaces it with, with the checkpoint's config (`from_config`). */
async function readScheduler(
  source: ComponentSource,
  { stepsOffset }: Pick<PipelineSpec, 'stepsOffset'>,
  replacement: LoadPipelineOptions['scheduler'],
  run: Run,
): Promise<NamedScheduler> {
  const { config: stored, defaulted } = withoutDefaulted(
    await source.files.readConfig('scheduler_config.json', { signal: run.signal }),
  )
  const offset = stored['steps_offset']
  const isReplaced = stepsOffset !== undefined && offset !== undefined && !(Number.isInteger(offset) && Number(offset) >= 0)
  const own = isReplaced ? { ...stored, steps_offset: stepsOffset } : stored
  const { className, config } =
    replacement === undefined
      ? { className: source.className, config: own }
      : { ...replacement, config: { ...own, ...replacement.config } }
  const { scheduler, unexpectedKeys, otherClassKeys } = createScheduler(className, config)
  if (unexpectedKeys.length > 0)
    run.note('scheduler', {
      code: 'config-keys',
      message: `No scheduler has the config keys ${listKeys(unexpectedKeys.map((key) => [key, config[key]]))}. They are ignored, as in diffusers.`,
      values: Object.fromEntries(unexpectedKeys.map((key) => [key.slice(0, 100), shown(config[key])])),
    })
  const unused = [...scheduler.unusedKeys, ...otherClassKeys].map((key) => [key, config[key]])
  const replaced = isReplaced && offset !== null && offset !== true ? { steps_offset: offset } : {}
  noteUnused('scheduler', className, { ...Object.fromEntries(unused), ...defaulted, ...replaced }, run)
  return { className, config }
}

function unsupportedClass(component: string, className: string, supported: readonly string[]): UnsupportedError {
  const reason = networkRefusal(className) ?? schedulerRefusal(className) ?? `Supported: ${supported.join(', ')}.`
  return new UnsupportedError(
    'unsupported-class',
    `The component ${component} is of class ${className}, which is not supported. ${reason}`,
    { component, className, supported },
  )
}

/** The error for a component that diffusers would load with Python code of the repository, whatever its class is called. */
function ownCode(component: string, library: string, className: string): UnsupportedError {
  return new UnsupportedError(
    'unsupported-class',
    `The component ${component} is ${className} of the module ${library}: Python code of its own, which Aquatint does not run; supported are classes of diffusers and transformers.`,
    { component, className, library },
  )
}

/** The first keys of a list with their values, for a message. */
function listKeys(keys: readonly (readonly [string, unknown])[]): string {
  const first = keys.slice(0, 8).map(([key, value]) => `${key.slice(0, 100)} (${shown(value).slice(0, 60)})`)
  return keys.length > first.length ? `${first.join(', ')} and ${keys.length - first.length} more` : first.join(', ')
}

function missingComponent(spec: PipelineSpec, name: string): CheckpointError {
  return new CheckpointError('component-missing', `model_index.json names no ${name}, which ${spec.className} needs.`, {
    component: name,
  })
}
