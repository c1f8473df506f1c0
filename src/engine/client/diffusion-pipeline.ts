/**
 * `DiffusionPipeline` as a page uses it: named as in diffusers, with the work done in the worker. It keeps what it needs to load the
 * pipeline again if the worker is lost.
 */

import { InputError } from '../../errors.js'
import { cleanReference } from '../../util/clean-reference.js'
import type { PipelinePlan } from '../../pipelines/loading/plan-pipeline.js'
import type { PipelineInfo } from '../../pipelines/pipeline-info.js'
import type {
  CheckpointReference,
  LoadPipelineOptions,
  PipelineProgress,
  PromptEmbeddings,
  PromptInput,
  StepInfo,
  PlannedSize,
} from '../../pipelines/types.js'
import type { AdapterCommand, FuseLoraOptions, LoraInfo, UnfuseLoraOptions } from '../../pipelines/adapter-types.js'
import type { LoadEmbeddingCallOptions, LoadLoraCallOptions } from './adapter-options.js'
import { SharedTask, type JoinOptions } from '../../util/shared-task.js'
import type { PipelineId } from '../protocol.js'
import type { Connection } from './connection.js'
import { gatherComponents, type ComponentOptions } from './component-options.js'
import { sharedEngine, type Engine } from './engine-client.js'
import { GeneratedImage } from './generated-image.js'
import type { EncodePromptCallOptions, GenerateCallOptions, GenerateOutput } from './generate-options.js'
import { startGeneration, type Generation } from './generation.js'
import { readImage, withImages, type ImageInput } from './image-input.js'
import { generationMeter, loadMeter, stepEvent, type OverallMeter, type ProgressReport } from './overall-progress.js'
import {
  checkOptionNames,
  encodePromptOptionNames,
  fromPretrainedOptionNames,
  generateOptionNames,
  fuseLoraOptionNames,
  loadEmbeddingOptionNames,
  loadLoraOptionNames,
  planOptionNames,
  unfuseLoraOptionNames,
} from './option-names.js'

/** Options of {@link DiffusionPipeline.fromPretrained}. */
export interface FromPretrainedOptions extends LoadPipelineOptions, ComponentOptions {
  /** Cancels the load; the promise rejects with the reason of the signal. Downloaded data stays in the cache. */
  readonly signal?: AbortSignal | undefined
  /** Called with the progress of the whole load (`fraction`, bytes, seconds left), of files and phases, memory use and warnings. */
  readonly onProgress?: ((progress: ProgressReport) => void) | undefined
  /** The engine to load into; by default the one that all pipelines of a page share. */
  readonly engine?: Engine | undefined
}

/** Options of {@link DiffusionPipeline.fromSingleFile}: those of `fromPretrained`, and where the configs come from. */
export interface FromSingleFileOptions extends FromPretrainedOptions {
  /** The repository with the configs, tokenizers and scheduler. Default: that of the family's own model on the Hub. */
  readonly config?: string | undefined
}

/** Options of {@link DiffusionPipeline.plan}: those of `fromPretrained`, and the options of a generation that affect its memory. */
export interface PlanOptions extends LoadPipelineOptions, ComponentOptions, PlannedSize {
  /** Cancels the planning; the promise rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined
  /** The engine to plan in; by default the one that all pipelines of a page share. */
  readonly engine?: Engine | undefined
}

/** The signal and the listener of a load. */
type LoadHooks = JoinOptions<PipelineProgress>

interface Loaded {
  readonly connection: Connection
  readonly pipeline: PipelineId
  readonly info: PipelineInfo
}

/** A diffusers checkpoint, loaded and ready to make images. */
export class DiffusionPipeline {
  readonly #engine: Engine
  readonly #repo: CheckpointReference
  readonly #options: LoadPipelineOptions
  #loaded: Loaded
  #reloading: SharedTask<void, PipelineProgress> | undefined
  /** The commands that loaded and changed LoRAs and embeddings, to be repeated in a worker that replaces a lost one. */
  #commands: readonly AdapterCommand[] = []
  #loras: readonly LoraInfo[] = []
  #disposed = false

  private constructor(engine: Engine, repo: CheckpointReference, options: LoadPipelineOptions, loaded: Loaded) {
    this.#engine = engine
    this.#repo = repo
    this.#options = options
    this.#loaded = loaded
  }

  /**
   * Loads a repository in diffusers' layout: `owner/name` on the Hub, or any address of its pages there; the URL of a folder; a path relative
   * to the page that starts with `./`, `../` or `/`; or a folder that the user picked. `{ singleFile }` is a
   * checkpoint in one file. Files that are not cached are downloaded and verified.
   * @throws InputError, HubError, StorageError, CheckpointError, UnsupportedError, DeviceError, AbortError
   */
  static async fromPretrained(repo: CheckpointReference, options: FromPretrainedOptions = {}): Promise<DiffusionPipeline> {
    checkOptionNames(options, fromPretrainedOptionNames)
    const { signal, onProgress, engine = sharedEngine(), ...plain } = gatherComponents(options, absolute)
    const address = absoluteReference(repo)
    const loaded = await load(engine, address, plain, { signal, onProgress: reportTo(onProgress, loadMeter()) })
    return new DiffusionPipeline(engine, address, plain, loaded)
  }

  /**
   * Loads a checkpoint in one file (safetensors or GGUF), as `from_single_file` in diffusers. docs/single-files.md lists the
   * families. The tensors have the names that the model's original code gives them. Configs, tokenizers and the scheduler come from `config`, by default from the repository of the family's
   * own model on the Hub. If the file lacks a component, pass a repository that has it: `{ vae: 'owner/name' }`.
   * @param file the URL of the file (the Hub's page of a file and Civitai's download links work too), or a file that the user picked
   * @throws as `fromPretrained`; UnsupportedError `single-file-family`, `pickle-weights`; CheckpointError `single-file-component`
   */
  static fromSingleFile(file: string | File, options: FromSingleFileOptions = {}): Promise<DiffusionPipeline> {
    const { config, ...rest } = options
    return DiffusionPipeline.fromPretrained({ singleFile: file, config }, rest)
  }

  /**
   * Plans `fromPretrained` with these options and the generation of one image: the bytes to download, and a memory plan for each device. It
   * reads only the headers of the weight files, and opens devices just long enough to query them.
   * @throws as `fromPretrained` if the checkpoint cannot be loaded; InputError `size`; DeviceError `does-not-fit` with the bytes needed and available
   */
  static async plan(repo: CheckpointReference, options: PlanOptions = {}): Promise<PipelinePlan> {
    checkOptionNames(options, planOptionNames)
    const { signal, engine = sharedEngine(), ...plain } = gatherComponents(options, absolute)
    const address = absoluteReference(repo)
    signal?.throwIfAborted()
    return engine.connect().call((remote, call, onEvents) => remote.plan(call, address, plain, onEvents), { signal })
  }

  /** The loaded components, the devices, and the defaults of the model. */
  get info(): PipelineInfo {
    return this.#loaded.info
  }

  /**
   * Generates images from a prompt. Await the returned object for the images, or iterate over it for the steps. A list of prompts gives
   * images of each, in one batch, as in diffusers. With `promptEmbeds`, the prompt is null. An engine runs one generation at a time; others
   * wait. If the worker was lost, the pipeline is first loaded again, from the cache.
   * @throws InputError, UnsupportedError, DeviceError, AbortError
   */
  generate(prompt: PromptInput, options: GenerateCallOptions = {}): Generation<GenerateOutput> {
    return startGeneration((onStep) => this.#generate(prompt, options, onStep))
  }

  /**
   * Encodes a prompt, or a list of prompts, with their negative prompts, as diffusers' `encode_prompt`. Pass the result to `generate` in its options, with
   * null as the prompt: `generate(null, { ...await pipe.encodePrompt('a fox') })`.
   * @throws InputError, DeviceError, AbortError
   */
  async encodePrompt(prompt: string | readonly string[], options: EncodePromptCallOptions = {}): Promise<PromptEmbeddings> {
    checkOptionNames(options, encodePromptOptionNames)
    const { signal, ...plain } = options
    this.#assertUsable()
    if (!this.#loaded.connection.isAlive) await this.#reload({ signal })
    this.#assertUsable()
    const { connection, pipeline } = this.#loaded
    return connection.call((engine, call, onEvents) => engine.encodePrompt(call, pipeline, prompt, plain, onEvents), { signal })
  }

  async #generate(
    prompt: PromptInput,
    options: GenerateCallOptions,
    reportStep: (step: StepInfo) => void,
  ): Promise<GenerateOutput> {
    checkOptionNames(options, generateOptionNames)
    const { signal, onProgress, onStep, image, ...plain } = options
    this.#assertUsable()
    // Reference images keep their sizes.
    const size = this.info.takesReferences ? { signal } : options
    const read = (one: ImageInput) => readImage(one, size)
    const start = image === undefined ? undefined : isList(image) ? await Promise.all(image.map(read)) : await read(image)
    const report = reportTo(onProgress, generationMeter(plain.numInferenceSteps ?? this.info.defaults.numInferenceSteps))
    if (!this.#loaded.connection.isAlive) {
      await this.#reload({ signal, onProgress: report })
    }
    this.#assertUsable()
    const { connection, pipeline } = this.#loaded
    const request = start === undefined ? plain : withImages(plain, start)
    const result = await connection.call((engine, call, onEvents) => engine.generate(call, pipeline, prompt, request, onEvents), {
      signal,
      onEvent: (event) => {
        if (event.type === 'progress') return report?.(event.progress)
        reportStep(event.step)
        onStep?.(event.step)
        report?.(stepEvent(event.step))
      },
    })
    return { ...result, images: result.images.map((pixels) => new GeneratedImage(pixels)) }
  }

  /** The loaded LoRAs, in the order in which they were loaded. */
  get loras(): readonly LoraInfo[] {
    return this.#loras
  }

  /**
   * Loads a LoRA, as `load_lora_weights` in diffusers: a repository on the Hub, the URL of a safetensors file (the Hub's page of a file and
   * Civitai's download links work too), or a file that the user picked. Accepts LoRA, LoCon, DoRA, LoHa and LoKr with the keys of
   * diffusers, peft, kohya's scripts or the models' original code. The new LoRA becomes the only active one of each component that it
   * changes; `setAdapters` makes several active. Returns the new LoRA. docs/lora.md has the details.
   * @throws InputError `adapter-name`, `adapter-weights`, `bad-url`; HubError; CheckpointError `lora-mismatch`, `not-a-lora`; UnsupportedError `lora-method`; AbortError
   */
  async loadLoraWeights(source: string | File, options: LoadLoraCallOptions = {}): Promise<LoraInfo> {
    checkOptionNames(options, loadLoraOptionNames)
    const { signal, onProgress, ...plain } = options
    const address = typeof source === 'string' ? absolute(source) : source
    const hooks = { signal, onProgress: reportTo(onProgress, loadMeter()) }
    const loras = await this.#adapt({ type: 'load', source: address, options: plain }, hooks)
    const loaded = loras.at(-1)
    if (loaded === undefined) throw new TypeError('No LoRA was loaded.')
    return loaded
  }

  /**
   * Makes these LoRAs the active ones, as `set_adapters` in diffusers. `weights`: one for all or one for each, by default 1. A change of weights alone
   * loads and compiles nothing. A fused LoRA that is not among them, or gets another weight, is no longer fused. @throws InputError `adapter-name`, `adapter-weights`
   */
  async setAdapters(names: string | readonly string[], weights?: number | readonly number[]): Promise<void> {
    await this.#adapt({ type: 'set', names: typeof names === 'string' ? [names] : names, weights })
  }

  /**
   * Adds the changes of LoRAs to the weights of the model, as `fuse_lora` in diffusers, so that a step takes as long as without LoRAs. A GPU computes the changes while the next generation
   * loads the weights. docs/lora.md says when this is worth it.
   * @throws InputError `adapter-name`, `adapter-weights`, `components`; UnsupportedError `lora-fuse` if a weight is quantized, or a layer lacks the bias that a LoRA changes. An error leaves everything unchanged.
   */
  async fuseLora(options: FuseLoraOptions = {}): Promise<void> {
    checkOptionNames(options, fuseLoraOptionNames)
    await this.#adapt({ type: 'fuse', options })
  }

  /** Gives the model the checkpoint's weights again, as `unfuse_lora` in diffusers. They are read from the cache. LoRAs that are active run beside them. @throws InputError `components` */
  async unfuseLora(options: UnfuseLoraOptions = {}): Promise<void> {
    checkOptionNames(options, unfuseLoraOptionNames)
    await this.#adapt({ type: 'unfuse', options })
  }

  /** Removes LoRAs, as `delete_adapters` in diffusers, also from the weights that they are fused into. @throws InputError `adapter-name` */
  async deleteAdapters(names: string | readonly string[]): Promise<void> {
    await this.#adapt({ type: 'delete', names: typeof names === 'string' ? [names] : names })
  }

  /** Removes all LoRAs, as `unload_lora_weights` in diffusers, also from the weights that they are fused into. */
  async unloadLoraWeights(): Promise<void> {
    await this.#adapt({ type: 'delete' })
  }

  /**
   * Loads a textual inversion, as `load_textual_inversion` in diffusers: a word that prompts can then contain. A file for Stable Diffusion XL has
   * embeddings for both text encoders. `source`: as in `loadLoraWeights`.
   * @throws InputError `token`, `bad-url`; HubError; CheckpointError `not-an-embedding`; UnsupportedError `pickle-weights`; AbortError
   */
  async loadTextualInversion(source: string | File, options: LoadEmbeddingCallOptions = {}): Promise<void> {
    checkOptionNames(options, loadEmbeddingOptionNames)
    const { signal, onProgress, ...plain } = options
    const address = typeof source === 'string' ? absolute(source) : source
    const hooks = { signal, onProgress: reportTo(onProgress, loadMeter()) }
    await this.#adapt({ type: 'load-embedding', source: address, options: plain }, hooks)
  }

  /** Removes all textual inversions, as `unload_textual_inversion` in diffusers. */
  async unloadTextualInversion(): Promise<void> {
    await this.#adapt({ type: 'delete-embeddings' })
  }

  async #adapt(command: AdapterCommand, hooks: LoadHooks = {}): Promise<readonly LoraInfo[]> {
    this.#assertUsable()
    if (!this.#loaded.connection.isAlive) await this.#reload(hooks)
    this.#assertUsable()
    const loras = await adapt(this.#loaded, command, hooks)
    // Removed LoRAs and embeddings need not be loaded again. Of several `set` commands in a row, only the last one counts.
    if (command.type === 'set' && this.#commands.at(-1)?.type === 'set') this.#commands = this.#commands.slice(0, -1)
    this.#commands = [...this.#commands, command].filter((one) =>
      isEmbedding(one) ? command.type !== 'delete-embeddings' : loras.length > 0,
    )
    this.#loras = loras
    return loras
  }

  /** Cancels the calls of the pipeline and frees its memory. Cached files stay. */
  async dispose(): Promise<void> {
    this.#disposed = true
    await this.#reloading?.stop()
    const { connection, pipeline } = this.#loaded
    if (connection.isAlive) await connection.call((engine) => engine.dispose(pipeline))
  }

  /** For `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  static {
    // Safari has no Symbol.asyncDispose. The code that bundlers write for `await using` looks for this symbol instead.
    Object.defineProperty(DiffusionPipeline.prototype, Symbol.for('Symbol.asyncDispose'), {
      value(this: DiffusionPipeline): Promise<void> {
        return this.dispose()
      },
    })
  }

  #assertUsable(): void {
    if (this.#disposed) throw new InputError('pipeline-disposed', 'This pipeline has been disposed.')
  }

  /** Loads the pipeline again; concurrent callers share one load. */
  async #reload(hooks: LoadHooks): Promise<void> {
    if (this.#reloading === undefined || this.#reloading.stopped) {
      const stopped = this.#reloading
      this.#reloading = new SharedTask(async (signal, onProgress) => {
        // The stopped load may have finished after all.
        await stopped?.stop()
        if (this.#loaded.connection.isAlive) return
        const loaded = await load(this.#engine, this.#repo, this.#options, { signal, onProgress })
        for (const command of this.#commands) await adapt(loaded, command, { signal, onProgress })
        this.#loaded = loaded
      })
    }
    const { leave } = await this.#reloading.join(hooks)
    await leave()
  }
}

async function load(
  engine: Engine,
  repo: CheckpointReference,
  options: LoadPipelineOptions,
  { signal, onProgress }: LoadHooks,
): Promise<Loaded> {
  signal?.throwIfAborted()
  const connection = engine.connect()
  const loaded = await connection.call((remote, call, onEvents) => remote.load(call, repo, options, onEvents), {
    signal,
    onEvent: (event) => (event.type === 'progress' ? onProgress?.(event.progress) : undefined),
    // No other code would dispose this pipeline. A worker that has died meanwhile holds no memory, so errors do not matter.
    onLate: ({ pipeline }) => void connection.call((remote) => remote.dispose(pipeline)).catch(() => {}),
  })
  return { connection, ...loaded }
}

function isEmbedding({ type }: AdapterCommand): boolean {
  return type === 'load-embedding' || type === 'delete-embeddings'
}

function adapt(
  { connection, pipeline }: Loaded,
  command: AdapterCommand,
  { signal, onProgress }: LoadHooks,
): Promise<readonly LoraInfo[]> {
  signal?.throwIfAborted()
  return connection.call((engine, call, onEvents) => engine.adapters(call, pipeline, command, onEvents), {
    signal,
    onEvent: (event) => (event.type === 'progress' ? onProgress?.(event.progress) : undefined),
  })
}

/** A listener that adds the overall progress to each event. */
function reportTo(
  onProgress: ((progress: ProgressReport) => void) | undefined,
  meter: OverallMeter,
): ((event: PipelineProgress) => void) | undefined {
  return onProgress && ((event) => onProgress(meter(event, performance.now())))
}

/** A reference that means the same in the worker. */
function absoluteReference(reference: CheckpointReference): CheckpointReference {
  if (typeof reference === 'string') return absolute(reference)
  if (!('singleFile' in reference)) return reference
  const { singleFile, config } = reference
  return {
    singleFile: typeof singleFile === 'string' ? absolute(singleFile) : singleFile,
    config: config === undefined ? undefined : absolute(config),
  }
}

/** Resolves paths against the URL of the page, because the worker has another base URL. `owner/name` is not a path. */
function absolute(repo: string): string {
  const text = cleanReference(repo)
  return /^\.{0,2}\/|^\.{1,2}$/.test(text) ? new URL(text, document.baseURI).href : text
}

function isList(image: ImageInput | readonly ImageInput[]): image is readonly ImageInput[] {
  return Array.isArray(image)
}
