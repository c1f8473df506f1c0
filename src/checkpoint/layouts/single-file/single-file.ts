/**
 * A checkpoint in one file, safetensors or GGUF, as CompVis, Stability AI and the people who fine-tune their models publish it. The file has the
 * weights under the names of the code that trained them. Configs, tokenizers and the scheduler come from a repository of the same family
 * in diffusers' layout, as in diffusers' `from_single_file`.
 */

import { CheckpointError, UnsupportedError } from '../../../errors.js'
import type { ByteSource, OpenOptions, ReadOptions, Repository } from '../../../hub/types.js'
import type { JsonObject } from '../../../util/parse-json.js'
import type { TensorFile } from '../../gguf.js'
import { readArrivingTable, readWeightTable, type ReadWeightsOptions } from '../../weight-table.js'
import type { WeightTransform } from '../../transforms/transform-table.js'
import { openDiffusersFolder } from '../diffusers-folder.js'
import type { ComponentFiles, ComponentWeights, Layout, LayoutComponent } from '../layout.js'
import { namesAlone, namesOf, recognizeFamily, refuseScaledWeights, singleFileComponents } from './families.js'
import { takeNetwork, type OriginalNames, type Originals } from './tensor-pieces.js'
import { wantedTensors } from './wanted-tensors.js'

/** One file of a repository. */
export interface FileInRepository {
  readonly repository: Repository
  readonly path: string
}

/** The arguments of {@link openSingleFile}. */
export interface SingleFileRequest {
  readonly file: FileInRepository
  /** The file's header. */
  readonly header: TensorFile
  /** The repository with configs and tokenizers; undefined for the family's own, which is then opened by its id on the Hub. */
  readonly config: Repository | undefined
  readonly open: (id: string) => Promise<Repository>
  /** Components that the caller replaces or leaves out: those in the file are not downloaded. */
  readonly replaced?: readonly string[] | undefined
  /** Receives a note about information in the file that has no effect. */
  readonly warn: (code: string, message: string) => void
}

/** Refuses pickle files, recognized by their extensions, before anything is read. @throws UnsupportedError `pickle-weights` */
export function checkSingleFileName(path: string): void {
  if (/\.(?:ckpt|pt|pth|bin)$/i.test(path))
    throw new UnsupportedError(
      'pickle-weights',
      `${path} is a pickle file, which can run code when it is read. Use a safetensors file of the same model.`,
      { files: [path] },
    )
}

/**
 * Opens a single file as a checkpoint of a whole pipeline. No tensor is read.
 * @throws UnsupportedError `single-file-family`; CheckpointError `model-index-*`, `json-*`; HubError
 */
export async function openSingleFile(request: SingleFileRequest, options: ReadOptions = {}): Promise<Layout> {
  const { file, header, warn } = request
  const { tensors, metadata } = header
  const family = recognizeFamily(tensors, file.path)
  const config = request.config ?? (await request.open(family.config))
  const layout = await openDiffusersFolder(config, options)
  warnOfPrediction(tensors, metadata, warn)
  const filled: string[] = []
  const taken = new Map<string, OriginalNames>()
  for (const [name, component] of layout.components) {
    const names = component === null || request.replaced?.includes(name) === true ? undefined : namesOf(name, tensors)
    if (names !== undefined) taken.set(name, names)
  }
  refuseScaledWeights(tensors, file.path, taken)
  const isWanted = wantedTensors(tensors, [...taken.values()])
  const components = [...layout.components].map(([name, component]): [string, LayoutComponent | null] => {
    if (component === null || !singleFileComponents.includes(name)) return [name, component]
    if ((isGgufName(file.path) || family.denoiserAlone === true) && namesOf(name, tensors) === undefined) {
      filled.push(name)
      return [name, component]
    }
    const names = namesOf(name, tensors)
    const source = { name, config: component.files, file, names, stored: names && storedBits(tensors, names.prefix), isWanted }
    return [name, { ...component, files: new SingleFileComponent(source) }]
  })
  if (filled.length > 0) {
    const unread = unreadComponents(tensors, [...taken.values()])
    const reason =
      unread.length === 0
        ? `${file.path} has no ${filled.join(', ')}, like most files of this kind`
        : `${file.path} has no ${filled.join(', ')} under names that Aquatint reads; it does not use the tensors that begin with ${unread.join(', ')}`
    warn(
      'single-file-filled',
      `${reason}. Aquatint takes what is missing from ${config.id}. To use a component of another repository, pass it as an option: { ${filled[0]}: 'owner/name' }.`,
    )
  }
  return { ...layout, repository: file.repository, components: new Map(components) }
}

/** The prefixes, such as `text_encoders.qwen3_4b.`, of those components of a file whose tensors none of the tables names. */
function unreadComponents(tensors: Originals, tables: readonly OriginalNames[]): readonly string[] {
  const found = new Set<string>()
  for (const name of tensors.keys()) {
    const [start] = /^(?:text_encoders\.[^.]+|vae|first_stage_model|cond_stage_model|conditioner)\./.exec(name) ?? []
    if (start !== undefined && !tables.some(({ prefix }) => prefix !== '' && name.startsWith(prefix))) found.add(start)
  }
  return [...found].slice(0, 10).map((start) => start.slice(0, 100))
}

/** Whether a path is that of a GGUF file. Such a file usually holds the denoiser alone. */
function isGgufName(path: string): boolean {
  return /\.gguf$/i.test(path)
}

/**
 * The only component that is used of a single file. `config`: the component in a repository of the family, for its config.
 * @throws UnsupportedError `single-file-family` for scaled weights
 */
export function singleFileComponent(
  name: string,
  config: ComponentFiles,
  file: FileInRepository,
  tensors: TensorFile['tensors'],
): ComponentFiles {
  const names = namesAlone(name, tensors)
  refuseScaledWeights(tensors, file.path, new Map([[name, names ?? { prefix: '' }]]))
  const isWanted = names && wantedTensors(tensors, [names])
  return new SingleFileComponent({ name, config, file, names, stored: names && storedBits(tensors, names.prefix), isWanted })
}

/** The bits to which Aquatint converts most of the quantized weights with this prefix; undefined without quantized weights. */
function storedBits(tensors: TensorFile['tensors'], prefix: string): 4 | 8 | undefined {
  const bytes = { 4: 0, 8: 0 }
  for (const [name, { blocks, begin, end }] of tensors)
    if (blocks !== undefined && name.startsWith(prefix)) bytes[blocks.bits] += end - begin
  if (bytes[4] === 0 && bytes[8] === 0) return undefined
  return bytes[4] > bytes[8] ? 4 : 8
}

/**
 * Warns if a file says how its network was trained: as in diffusers, such a note has no effect. A tensor `v_pred` or the metadata says that
 * the network predicts velocity; a tensor `ztsnr` says that the network was trained with zero terminal SNR.
 */
function warnOfPrediction(tensors: Originals, metadata: ReadonlyMap<string, string>, warn: SingleFileRequest['warn']): void {
  const prediction = metadata.get('modelspec.prediction_type')
  if (tensors.has('v_pred') || prediction === 'v')
    warn(
      'single-file-prediction',
      "The file says that its network predicts velocity (v_prediction). As in diffusers, the scheduler's config decides: where it says epsilon, pass the option scheduler with prediction_type 'v_prediction'.",
    )
  if (tensors.has('ztsnr'))
    warn(
      'single-file-prediction',
      'The file says that it was trained with zero terminal SNR. As in diffusers, the config of the scheduler decides: pass the option scheduler with rescale_betas_zero_snr true and timestep_spacing trailing.',
    )
}

/** The parts of a component in a single file. */
interface SingleFileSource {
  readonly name: string
  /** The component in a repository in diffusers' layout. */
  readonly config: ComponentFiles
  readonly file: FileInRepository
  /** The names of the component's tensors in the file; undefined if the file does not hold this component. */
  readonly names: OriginalNames | undefined
  /** See `stored` of ComponentWeights. */
  readonly stored: 4 | 8 | undefined
  /** Whether a tensor of the file is needed; undefined: all are. */
  readonly isWanted: ((name: string) => boolean) | undefined
}

/** A component whose weights are in a single file, and whose config is in a repository in diffusers' layout. */
class SingleFileComponent implements ComponentFiles {
  readonly repository: Repository
  readonly #source: SingleFileSource

  constructor(source: SingleFileSource) {
    this.#source = source
    this.repository = source.file.repository
  }

  path(name: string): string {
    return this.#source.config.path(name)
  }

  has(name: string, options?: ReadOptions): Promise<boolean> {
    return this.#source.config.has(name, options)
  }

  open(name: string, options?: OpenOptions): Promise<ByteSource> {
    return this.#source.config.open(name, options)
  }

  readConfig(name: string, options?: ReadOptions): Promise<JsonObject> {
    return this.#source.config.readConfig(name, options)
  }

  variants(): Promise<readonly string[]> {
    return Promise.resolve([])
  }

  /** @throws CheckpointError `single-file-component` where the file does not hold this component */
  async chooseWeights(_choice: unknown, options?: ReadOptions): Promise<ComponentWeights> {
    const { name, names, file } = this.#source
    if (names === undefined)
      throw new CheckpointError(
        'single-file-component',
        `${file.path} has no ${name}. Name a repository that has one, { ${name}: 'owner/name' }; null leaves it out where the pipeline can run without it.`,
        { file: file.path, component: name },
      )
    const transforms = [takeNetwork(names, await this.readConfig('config.json', options))]
    return new SingleFileWeights(this.#source, transforms)
  }

  through(view: (repository: Repository) => Repository): ComponentFiles {
    const { config, file } = this.#source
    const viewed = { ...file, repository: view(file.repository) }
    return new SingleFileComponent({ ...this.#source, config: config.through(view), file: viewed })
  }
}

class SingleFileWeights implements ComponentWeights {
  readonly variant = null
  readonly index = null
  readonly transforms: readonly WeightTransform[]
  readonly stored: 4 | 8 | undefined
  readonly #file: FileInRepository
  readonly #isWanted: SingleFileSource['isWanted']

  constructor({ file, stored, isWanted }: SingleFileSource, transforms: readonly WeightTransform[]) {
    this.stored = stored
    this.#file = file
    this.#isWanted = isWanted
    this.transforms = transforms
  }

  files(): Promise<readonly string[]> {
    return Promise.resolve([this.#file.path])
  }

  read(options?: ReadWeightsOptions) {
    return readWeightTable(this.#file.repository, this.#weightFiles, { ...options, isWanted: this.#isWanted })
  }

  readArriving(options?: ReadWeightsOptions) {
    return readArrivingTable(this.#file.repository, this.#weightFiles, { ...options, isWanted: this.#isWanted })
  }

  get #weightFiles() {
    return { kind: 'single', path: this.#file.path, variant: null } as const
  }
}
