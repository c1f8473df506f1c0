/**
 * A layout: how a repository distributes a checkpoint's components over its files. The loading code asks a layout
 * for a component's config and weights and does not know which files hold them. Types only; open-layout.ts finds the layout of a
 * repository.
 */

import type { ByteSource, OpenOptions, ReadOptions, Repository } from '../../hub/types.js'
import type { JsonObject } from '../../util/parse-json.js'
import type { CheckpointNote, Config, WeightLibrary, WeightTable } from '../types.js'
import type { WeightTransform } from '../transforms/transform-table.js'
import type { WeightFilesRequest } from '../weight-files.js'
import type { ArrivingTable, ReadWeightsOptions } from '../weight-table.js'

/** The class of a component, as the checkpoint names it. */
export interface ComponentClass {
  /** `diffusers`, `transformers`, or the module of a pipeline such as `stable_diffusion`. */
  readonly library: string
  readonly className: string
}

/** A checkpoint of a whole pipeline. */
export interface Layout {
  readonly repository: Repository
  /** The pipeline's class, such as `StableDiffusionXLPipeline`. */
  readonly className: string
  /** The pipeline's own options, such as `force_zeros_for_empty_prompt`. */
  readonly options: Config
  /** Notes about entries that a load ignores in the checkpoint's list of components. */
  readonly notes: readonly CheckpointNote[]
  /** Component name, such as `unet` → the component; null for an optional component that this checkpoint lacks. */
  readonly components: ReadonlyMap<string, LayoutComponent | null>
}

/** A component of a checkpoint: its class and its files. */
export interface LayoutComponent extends ComponentClass {
  readonly files: ComponentFiles
}

/** The files of one component. File names are those of diffusers' folders: `config.json`, `scheduler_config.json`, `vocab.json`. */
export interface ComponentFiles {
  /** The repository that the files are in. */
  readonly repository: Repository
  /** The path of a file in the repository, for messages. */
  path(file: string): string
  /** Whether the component has a file of this name. */
  has(file: string, options?: ReadOptions): Promise<boolean>
  /** @throws HubError `file-not-found`, `file-too-large` */
  open(file: string, options?: OpenOptions): Promise<ByteSource>
  /** Reads a JSON file. @throws HubError `file-not-found`, `file-too-large`; CheckpointError `json-*`, `config-not-object` */
  readConfig(file: string, options?: ReadOptions): Promise<JsonObject>
  /** The variants that the component has weights of, sorted, such as `fp16`. */
  variants(library: WeightLibrary, options?: ReadOptions): Promise<readonly string[]>
  /**
   * Chooses the files that hold the weights; reads none of them.
   * @throws CheckpointError `weights-not-found`, `variant-not-found`; UnsupportedError `pickle-weights`; InputError `variant-name`
   */
  chooseWeights(choice: WeightChoice, options?: ReadOptions): Promise<ComponentWeights>
  /** The same files, opened through another view of the repository, such as one that reads headers only. */
  through(view: (repository: Repository) => Repository): ComponentFiles
}

/** Which of a component's weights to take. */
export type WeightChoice = Omit<WeightFilesRequest, 'folder'>

/** The chosen weights of a component. */
export interface ComponentWeights {
  /** The variant of the chosen files; null for files without a variant, even if the request names one. */
  readonly variant: string | null
  /** The path of the index that names the shards; null where the weights are in one file. */
  readonly index: string | null
  /** The transforms that make the component's weights from the tensors of the files. None if the files already have diffusers' names. */
  readonly transforms: readonly WeightTransform[]
  /** For a GGUF file: the bits, 4 or 8, to which Aquatint converts most of its quantized weights. Absent for other files. */
  readonly stored?: 4 | 8 | undefined
  /** Paths of the weight files, sorted. @throws as {@link read} */
  files(options?: ReadOptions): Promise<readonly string[]>
  /** Downloads the files and reads their headers. @throws CheckpointError, UnsupportedError, HubError, StorageError, AbortError */
  read(options?: ReadWeightsOptions): Promise<WeightTable>
  /** Returns the table as soon as the headers have arrived; reads of tensors wait for their bytes. @throws as {@link read} */
  readArriving(options?: ReadWeightsOptions): Promise<ArrivingTable>
}
