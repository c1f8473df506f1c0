/**
 * The contract of a network class: everything that the rest of the code needs to know about a class such as `UNet2DConditionModel`. Each
 * class's own file exports one definition, registry.ts lists all definitions, and no other code depends on the name of a class.
 *
 * A definition reads a config once (`fromConfig`, as in diffusers) and returns a model: the typed config, with everything that is derived
 * from it. A model has no weights; a pipeline's `Network` is a model with its weight table.
 */

import type { Config, WeightLibrary, SensitiveWeights } from '../checkpoint/types.js'
import type { ComponentGraph, Shapes, WriteOptions } from '../onnx/types.js'
import type { TokenEmbedding } from './layers/token-embedding.js'

/** Height and width. The unit is given where it is used. */
export interface Extent {
  readonly height: number
  readonly width: number
}

/** The sizes that determine the shapes of a network's inputs. `height` and `width`: latent pixels. */
export interface RunSize extends Extent {
  /** Images made at once. Default 1. */
  readonly images?: number | undefined
  /**
   * diffusers' `max_sequence_length`: the number of tokens of a text encoder whose class lets the caller choose it.
   * Default: the class's own, such as {@link defaultMaxSequenceLength}.
   */
  readonly maxSequenceLength?: number | undefined
  /** Whether the denoiser predicts with and without the prompt in one batch. Default: true, but false for a class that usually runs without guidance. */
  readonly guided?: boolean | undefined
  /** Sizes of the reference images, for denoisers that attend to reference images. Default: none. */
  readonly references?: readonly Extent[] | undefined
}

/** diffusers' default of `max_sequence_length` in the pipelines of Stable Diffusion 3; the default of T5EncoderModel here. */
export const defaultMaxSequenceLength = 256

/** How a network's graph differs from the plain one, beyond its shapes. Each role has its own members. */
export interface GraphVariant {
  /**
   * Text encoders: the hidden states that become the outputs `hidden_state`, `hidden_state_1`, …, in this order. Default: the class's own
   * choice.
   */
  readonly hiddenStates?: readonly HiddenState[] | undefined
  /** Text encoders: whether there is an input `attention_mask`, [batch, tokens], 1 for tokens to attend to and 0 for padding. Default: `masksPadding` of the model. */
  readonly attentionMask?: boolean | undefined
  /** Denoisers: blocks that are left out, diffusers' `skip_layers` of skip-layer guidance. */
  readonly skipLayers?: readonly number[] | undefined
  /** Autoencoders: the encoder, from an image to moments or latents. Default: the decoder, from latents to an image. */
  readonly part?: 'encoder' | undefined
}

/** One of transformers' `hidden_states`. */
export interface HiddenState {
  /** The index of the hidden state. Negative ones count from the end: −1 is the last. */
  readonly index: number
  /** Whether the encoder's final norm is applied to it. */
  readonly finalLayerNorm: boolean
}

/** How checkpoints name the tensors of a class. */
export interface WeightNames {
  /** Other names of a parameter, most likely first. Graphs use only the current name. */
  readonly aliases: (name: string) => readonly string[]
  /** Whether an alias has priority if a checkpoint has both it and the current name. Default: the current name has priority. */
  readonly aliasesFirst?: boolean
  /** The current name of a tensor that an older release of diffusers or transformers named differently; the same name for all others. */
  readonly currentName: (name: string) => string
  /** Tensors that no graph uses, with the reason. */
  readonly unused: readonly (readonly [RegExp, string])[]
  /** Unused tensors that the host does not read either: they are not downloaded. Absent: none. */
  readonly skipped?: SkippedTensors | undefined
}

/** Tensors of a checkpoint that are neither downloaded nor loaded. */
export interface SkippedTensors {
  readonly patterns: readonly RegExp[]
  /**
   * Names the set of skipped tensors if it depends on more than the class. A quantized copy is reused only for the same set. Absent: the
   * set depends on the class alone.
   */
  readonly choice?: string | undefined
}

/** The properties that all models and configs of a class share. */
export interface ClassFacts<Role extends NetworkRole> {
  /** The class's name in diffusers or transformers, as model_index.json has it. */
  readonly className: string
  /** The library that the class belongs to: it decides the names of weight files. */
  readonly library: WeightLibrary
  readonly role: Role
  readonly weights: WeightNames
  /** Whether the class's Linear weights may be quantized. */
  readonly quantizable: boolean
  /** The Linear weights that quantizing would harm most. Absent: none. */
  readonly sensitive?: SensitiveWeights | undefined
  /**
   * `float32`: where the graph computes in float16, the values that blocks pass on are nevertheless float32, because sums over many blocks can leave
   * float16's range (65,504). Absent: they have the graph's type.
   */
  readonly residual?: 'float32' | undefined
  /**
   * Classes whose checkpoints hold this network, so that `from_pretrained` of this class reads them: `CLIPModel` has a `CLIPTextModel`. Absent:
   * none.
   */
  readonly within?: readonly string[] | undefined
}

/** The part that a network has in a pipeline. */
export type NetworkRole = 'text-encoder' | 'denoiser' | 'autoencoder'

/** A network class. `Model` is what `fromConfig` returns. */
interface Definition<Role extends NetworkRole, Model> extends ClassFacts<Role> {
  /**
   * Reads a `config.json`, with diffusers' defaults for missing keys. Refuses unsupported
   * values of the class's keys, unless they change nothing. Keys that the class does not have are in the model's `ignoredKeys`.
   * @throws UnsupportedError `unsupported-config`; CheckpointError `invalid-config`
   */
  readonly fromConfig: (config: Config) => Model
}

/** The members that models of all roles have. */
interface BaseModel<Role extends NetworkRole, NetworkConfig> extends ClassFacts<Role> {
  /** The config, read and checked. */
  readonly config: NetworkConfig
  /** Keys of the config that the class does not have, with their values. They change nothing, as in diffusers and transformers. */
  readonly ignoredKeys: Config
  /** Values of the class's own keys that have no effect here, except defaults. Absent for classes without such keys. */
  readonly unusedValues?: Config
  /** The smallest latents that the graph can be written for: enough to check the config and the weights. */
  readonly smallest: Extent
  /** The shapes of the graph's inputs in a run, but only of those inputs from which the shapes of all other inputs follow. */
  readonly shapes: (size: RunSize, variant?: Pick<GraphVariant, 'part'>) => Shapes
  /**
   * The graph for inputs of these shapes; docs/networks.md lists the inputs and outputs.
   * @throws InputError for shapes or variants that the class does not have
   */
  readonly write: (shapes: Shapes, options: WriteOptions, variant?: GraphVariant) => ComponentGraph
  /** Whether the network computes in float32 whatever the pipeline computes in: diffusers' `force_upcast`. */
  readonly upcast: boolean
}

/** An input that the host computes. */
export interface HostInput {
  readonly dims: readonly number[]
  readonly data: Float32Array<ArrayBuffer>
}

/** An input that the host reads out of a tensor of the checkpoint. */
export interface TableInput {
  /** The tensor's name and shape. */
  readonly tensor: string
  readonly shape: readonly number[]
  /** Ranges of the tensor's elements, in the order in which the input contains them. */
  readonly runs: readonly { readonly begin: number; readonly end: number }[]
  readonly dims: readonly number[]
}

/** A text encoder: from token embeddings, `inputs_embeds` [batch, tokens, width], to `last_hidden_state` and other hidden states. */
export interface TextEncoderModel<NetworkConfig = unknown> extends BaseModel<'text-encoder', NetworkConfig> {
  /** Where the host finds the rows of `inputs_embeds`. */
  readonly tokenEmbedding: TokenEmbedding
  /** Transformer layers. */
  readonly layers: number
  /** How many hidden states the plain graph gives: `hidden_state`, `hidden_state_1`, … Absent: one. */
  readonly hiddenStates?: number | undefined
  /** Whether the plain graph has the input `attention_mask`, because the pipeline class masks padding. Absent: false. */
  readonly masksPadding?: boolean | undefined
  /** The output with the pooled prompt embeddings that diffusers takes, [batch, width]; null for encoders that have none. */
  readonly pooledOutput: string | null
  /** The width of the pooled prompt embeddings; null for encoders that have none. */
  readonly pooledWidth: number | null
  /**
   * The graph's inputs besides `inputs_embeds`. The host computes them from `inputIds`, the token ids of all texts in one flat list
   * [batch · tokens].
   * @throws InputError `invalid-shape`
   */
  readonly hostInputs: (inputIds: ArrayLike<number>, sequenceLength: number) => Readonly<Record<string, HostInput>>
}

/** The widths of prompt embeddings. */
export interface PromptWidths {
  /** The width of the hidden states. */
  readonly hidden: number
  /** The width of the pooled prompt embeddings; null if there are none. */
  readonly pooled: number | null
}

/** A config value that does not match another component, and the value that would match. */
export interface ConfigMisfit {
  readonly key: string
  readonly value: number | string | null
  readonly allowed: number | string | null
}

/** The sizes on which tables of positions depend. */
export interface PositionSize extends Extent {
  /** Tokens of the prompt: of the longest one, with its padding. */
  readonly sequenceLength: number
  /** Tokens of each row's prompt without padding. Default: one row without padding. */
  readonly textLengths?: readonly number[] | undefined
  /** Sizes of reference images. Default: none. */
  readonly references?: readonly Extent[] | undefined
}

/** A denoiser: from latents and a condition to `out_sample`, the noise (or velocity) in the latents. */
export interface DenoiserModel<NetworkConfig = unknown> extends BaseModel<'denoiser', NetworkConfig> {
  readonly latents: {
    /** The name of the graph's input for latents, [batch, channels, height, width]. */
    readonly input: string
    readonly channels: number
    /** Channels of the prediction. */
    readonly outChannels: number
    /** Latent pixels along each edge of a token: heights and widths are multiples of it. */
    readonly patch: number
    /** The size that the denoiser was trained for, in latent pixels: diffusers' `default_sample_size`. */
    readonly sampleSize: Extent
  }
  /** The inputs that are made from the prompt. */
  readonly promptInputs: readonly string[]
  /** The width of the denoiser's input `encoder_hidden_states`. */
  readonly contextWidth: number
  /** The first config value that does not fit prompt embeddings of these widths; undefined where the denoiser takes them. */
  readonly promptMisfit: (given: PromptWidths) => ConfigMisfit | undefined
  /** The inputs that depend on the timestep, one timestep for each row of the batch. */
  readonly stepInputs: (timesteps: readonly number[]) => Readonly<Record<string, HostInput>>
  /**
   * For distilled models that take the guidance scale as an input: the inputs with the scale, for a batch. Such models run without classifier-free
   * guidance, unless the pipeline class can add it.
   * Absent for all others.
   */
  readonly guidanceInputs?: ((guidanceScale: number, batch: number) => Readonly<Record<string, HostInput>>) | undefined
  /** The inputs that depend on the size alone, in latent pixels: rows of a tensor in the checkpoint. @throws InputError `invalid-shape` */
  readonly tableInputs: (size: Extent) => Readonly<Record<string, TableInput>>
  /**
   * The inputs that the host computes from the sizes alone, such as tables of positions; sizes in latent pixels. Absent: none.
   */
  readonly positionInputs?: ((size: PositionSize) => Readonly<Record<string, HostInput>>) | undefined
  /**
   * The name of the input for the tokens of reference images, [1, tokens, channels]. A run without reference images leaves the input out.
   * Absent: the denoiser takes no reference images.
   */
  readonly referenceInput?: string | undefined
  /** `skipLayers` may name blocks from 0 to one less than this. 0: none. */
  readonly skippableLayers: number
}

/** See {@link AutoencoderModel.tileJoint}. */
export type TileJoint = 'fading' | 'covering'

/** An autoencoder. Its decoder: `latents` → `sample`. Its encoder, the part `encoder`: `sample` → `moments` or `latents`. */
export interface AutoencoderModel<NetworkConfig = unknown> extends BaseModel<'autoencoder', NetworkConfig> {
  readonly latentChannels: number
  /** Image pixels along an edge for one latent pixel. */
  readonly scaleFactor: number
  /** The edge of diffusers' tiles, in latent pixels: the size that the autoencoder was trained for. */
  readonly tile: number
  /** The edge of the smallest tiles that are used to save memory, in latent pixels. Absent: `smallestTile` of pipelines/latent-geometry.ts. */
  readonly smallestTile?: number | undefined
  /**
   * How diffusers joins overlapping tiles of this class. `fading`: a quarter of each tile overlaps its neighbours, and the earlier tile
   * fades into the later one. `covering`: an eighth overlaps, and the later tile fades in over the joined earlier tiles.
   */
  readonly tileJoint: TileJoint
  /** Whether a checkpoint with these tensors has the encoder: image to image needs it. */
  readonly hasEncoder: (tensors: Iterable<string>) => boolean
  /** The encoder's output: `moments`, the means and log variances that latents are drawn from, or the `latents` themselves. */
  readonly encoderOutput: 'moments' | 'latents'
  /** How the autoencoder's latents differ in scale from the denoiser's. */
  readonly scaling: LatentStatistics
}

/**
 * The scale of the latents in an autoencoder's config. The pipeline class decides which of the members it uses: reading a member other than `factor`
 * throws CheckpointError `invalid-config` where the config has no valid value.
 */
export interface LatentStatistics {
  /** `scaling_factor`: the denoiser's latents are the autoencoder's times this factor. */
  readonly factor: number
  /** `shift_factor` */
  readonly shift: number
  /** `latents_mean`, one for each channel. */
  readonly mean: readonly number[] | null
  /** `latents_std`, one for each channel. */
  readonly std: readonly number[] | null
  /** The keys among `shift_factor`, `latents_mean` and `latents_std` whose values are true in Python, with their values. Absent: none. */
  readonly given?: Config | undefined
}

/** A class of text encoders, with the type of its config. */
export type TextEncoderDefinition<NetworkConfig = unknown> = Definition<'text-encoder', TextEncoderModel<NetworkConfig>>
/** A class of denoisers (UNets and transformers), with the type of its config. */
export type DenoiserDefinition<NetworkConfig = unknown> = Definition<'denoiser', DenoiserModel<NetworkConfig>>
/** A class of autoencoders, with the type of its config. */
export type AutoencoderDefinition<NetworkConfig = unknown> = Definition<'autoencoder', AutoencoderModel<NetworkConfig>>

/** A network class of any role. */
export type NetworkDefinition = TextEncoderDefinition | DenoiserDefinition | AutoencoderDefinition

/** A network of any role without its weights. */
export type NetworkModel = TextEncoderModel | DenoiserModel | AutoencoderModel

/** The names of a class whose tensors were never renamed. */
export const currentNames: Pick<WeightNames, 'aliases' | 'currentName'> = { aliases: () => [], currentName: (name) => name }
