/**
 * The model families that are published as single files: how to recognize one by its tensors, the repository on the Hub that has its
 * configs and tokenizers, and the tables of its tensors' names. Source: diffusers' `infer_diffusers_model_type` and
 * `DIFFUSERS_DEFAULT_PIPELINE_PATHS`.
 */

import { UnsupportedError } from '../../../errors.js'
import { chromaNames } from './chroma-names.js'
import { flux2Names } from './flux2-names.js'
import { fluxNames } from './flux-names.js'
import { sd3Names } from './sd3-names.js'
import { hasNames, type OriginalNames, type Originals } from './tensor-pieces.js'
import { clipNames, convertedOpenClipNames, openClipNames, projectedClipNames, transformersNames } from './text-encoder-names.js'
import { unetNames } from './unet-names.js'
import { vaeNames } from './vae-names.js'
import { zImageNames } from './z-image-names.js'

/** Where a file of any family has its autoencoder. As in diffusers, the one under ComfyUI's prefix has priority over another one in the file. */
const vaeTables: readonly OriginalNames[] = [vaeNames('vae.'), vaeNames('first_stage_model.')]

/**
 * For each component, the tables of names that its tensors may have. The first table whose marker is in the file is used. If the file has
 * none of the markers, the table with the most tensors in the file is used, or the first of several tables with equally many.
 */
const componentNames: Readonly<Record<string, readonly OriginalNames[]>> = {
  unet: [unetNames('model.diffusion_model.'), unetNames('')],
  transformer: [sd3Names('model.diffusion_model.'), sd3Names('')],
  vae: vaeTables,
  text_encoder: [
    clipNames('cond_stage_model.transformer.'),
    openClipNames('cond_stage_model.model.'),
    clipNames('conditioner.embedders.0.transformer.'),
    projectedClipNames('text_encoders.clip_l.transformer.'),
  ],
  text_encoder_2: [openClipNames('conditioner.embedders.1.model.'), transformersNames('text_encoders.clip_g.transformer.')],
  text_encoder_3: [transformersNames('text_encoders.t5xxl.transformer.')],
}

/** The tables for files of Stable Diffusion XL. In some GGUF files, converters of stable-diffusion.cpp have renamed the text encoders. */
const xlComponentNames: typeof componentNames = {
  unet: componentNames['unet'] ?? [],
  vae: vaeTables,
  text_encoder: [clipNames('conditioner.embedders.0.transformer.'), clipNames('cond_stage_model.transformer.')],
  text_encoder_2: [openClipNames('conditioner.embedders.1.model.'), convertedOpenClipNames('cond_stage_model.1.transformer.')],
}

/** The tables for files of FLUX.1, whose second text encoder is T5. */
const fluxComponentNames: typeof componentNames = {
  transformer: [fluxNames('model.diffusion_model.'), fluxNames('')],
  vae: vaeTables,
  text_encoder: [projectedClipNames('text_encoders.clip_l.transformer.')],
  text_encoder_2: [transformersNames('text_encoders.t5xxl.transformer.')],
}

/** The tables for files of Chroma, whose only text encoder is T5. */
const chromaComponentNames: typeof componentNames = {
  transformer: [chromaNames('model.diffusion_model.'), chromaNames('')],
  vae: vaeTables,
  text_encoder: [transformersNames('text_encoders.t5xxl.transformer.')],
}

/** The beginnings of a denoiser's tensor names in files that contain it alone, without a prefix. */
const firstNames: Readonly<Record<string, string>> = {
  unet: 'input_blocks.',
  transformer: 'joint_blocks.',
}

/** Families whose files have other tables than most: what they are recognized by, their tables, and how the names of a transformer alone begin. */
const ownTables: readonly {
  readonly matches: (tensors: Originals) => boolean
  readonly tables: typeof componentNames
  readonly first: string
}[] = [
  { matches: isXlFile, tables: xlComponentNames, first: 'input_blocks.' },
  { matches: isChromaFile, tables: chromaComponentNames, first: 'double_blocks.' },
  { matches: isFluxFile, tables: fluxComponentNames, first: 'double_blocks.' },
  {
    matches: isFlux2File,
    tables: { transformer: [flux2Names('model.diffusion_model.'), flux2Names('')] },
    first: 'double_blocks.',
  },
  {
    matches: isZImageFile,
    tables: { transformer: [zImageNames('model.diffusion_model.'), zImageNames('')], vae: vaeTables },
    first: 'layers.',
  },
]

/** The table of the names that a component's tensors have in the checkpoint file; undefined if the file does not hold the component. `tensors`: all of the file's. */
export function namesOf(component: string, tensors: Originals): OriginalNames | undefined {
  const own = ownTables.find(({ matches }) => matches(tensors))
  const families = own?.tables ?? componentNames
  const tables = Object.hasOwn(families, component) ? families[component] : undefined
  const first = own?.first ?? firstNames[component] ?? ''
  const marked = tables?.find(({ prefix, marker }) => marker !== undefined && tensors.has(prefix + marker))
  if (marked !== undefined) return marked
  let most: { readonly names: OriginalNames; readonly count: number } | undefined
  for (const names of tables ?? []) {
    const count = countNames(tensors, names.prefix === '' ? first : names.prefix)
    if (count > (most?.count ?? 0)) most = { names, count }
  }
  return most?.names
}

/** How many tensors' names begin with `prefix`. A file can contain a few tensors that are left over from another component. */
function countNames(tensors: Originals, prefix: string): number {
  let count = 0
  for (const name of tensors.keys()) if (name.startsWith(prefix)) count++
  return count
}

/** How names begin in a file that has one component under the names of diffusers or transformers. */
const ownNames: Readonly<Record<string, readonly string[]>> = {
  unet: ['down_blocks.'],
  transformer: ['transformer_blocks.'],
  vae: ['decoder.mid_block.', 'decoder.layers.'],
  // transformers 5 saves a CLIPTextModel without `text_model.`.
  text_encoder: ['text_model.', 'embeddings.token_embedding.', 'encoder.block.'],
  text_encoder_2: ['text_model.', 'encoder.block.'],
  text_encoder_3: ['encoder.block.'],
}

/**
 * The table of a component's tensors in a file of which only this component is used. The file is a whole checkpoint, or it has this
 * component alone: under original names without a prefix, or under the names of diffusers or transformers.
 */
export function namesAlone(component: string, tensors: Originals): OriginalNames | undefined {
  const names = namesOf(component, tensors)
  if (names !== undefined) return names
  if (component === 'vae' && hasNames(tensors, { prefix: 'decoder.mid.block_1.' })) return vaeNames('')
  const own = Object.hasOwn(ownNames, component) ? ownNames[component] : undefined
  return own?.some((prefix) => hasNames(tensors, { prefix })) === true ? transformersNames('') : undefined
}

/** Of the families with a UNet, only those of Stable Diffusion XL have `label_emb`, which embeds sizes and the pooled prompt. */
function isXlFile(tensors: Originals): boolean {
  return denoiserTensor(tensors, 'label_emb.0.0.weight') !== undefined
}

function isFlux2File(tensors: Originals): boolean {
  return denoiserTensor(tensors, 'single_stream_modulation.lin.weight') !== undefined
}

function isZImageFile(tensors: Originals): boolean {
  return denoiserTensor(tensors, 'layers.0.adaLN_modulation.0.weight') !== undefined
}

function isChromaFile(tensors: Originals): boolean {
  return denoiserTensor(tensors, 'distilled_guidance_layer.in_proj.bias') !== undefined
}

function isFluxFile(tensors: Originals): boolean {
  // FLUX.2 and Chroma have blocks of these names too, but no layer for a pooled prompt (`vector_in`).
  return ['double_blocks.0.img_attn.norm.key_norm.scale', 'vector_in.in_layer.weight'].every(
    (name) => denoiserTensor(tensors, name) !== undefined,
  )
}

/** Every component that a single file can hold. */
export const singleFileComponents = Object.keys(componentNames)

/** A family of single files. */
export interface SingleFileFamily {
  /** The family's name for people. */
  readonly label: string
  /** The repository from which diffusers takes the family's configs and tokenizers by default. */
  readonly config: string
  /** Whether most files of the family hold the denoiser alone, so that the other components come from `config`. */
  readonly denoiserAlone?: boolean | undefined
}

interface Rule extends SingleFileFamily {
  readonly matches: (tensors: Originals) => boolean
}

const unet = 'model.diffusion_model.'

/** The last dim of a tensor of the denoiser; 0 where there is none of that name. */
const width = (tensors: Originals, name: string): number => denoiserTensor(tensors, name)?.shape.at(-1) ?? 0

/** The first dim of a tensor of the denoiser; 0 if there is none of that name. */
const rows = (tensors: Originals, name: string): number => denoiserTensor(tensors, name)?.shape[0] ?? 0

/** The first family that matches is used. */
const rules: readonly Rule[] = [
  {
    label: 'Chroma',
    config: 'lodestones/Chroma1-HD',
    denoiserAlone: true,
    matches: isChromaFile,
  },
  {
    label: 'FLUX.1 dev',
    config: 'black-forest-labs/FLUX.1-dev',
    denoiserAlone: true,
    matches: (tensors) => isFluxFile(tensors) && denoiserTensor(tensors, 'guidance_in.in_layer.bias') !== undefined,
  },
  {
    label: 'FLUX.1 schnell',
    config: 'black-forest-labs/FLUX.1-schnell',
    denoiserAlone: true,
    matches: isFluxFile,
  },
  // Distilled and base models have the same tensors; for a base model, the user passes its repository as the option `config`.
  {
    label: 'FLUX.2-klein 9B',
    config: 'black-forest-labs/FLUX.2-klein-9B',
    denoiserAlone: true,
    matches: (tensors) => isFlux2File(tensors) && rows(tensors, 'img_in.weight') === 4096,
  },
  {
    label: 'FLUX.2-klein 4B',
    config: 'black-forest-labs/FLUX.2-klein-4B',
    denoiserAlone: true,
    matches: isFlux2File,
  },
  {
    label: 'Z-Image',
    config: 'Tongyi-MAI/Z-Image-Turbo',
    denoiserAlone: true,
    matches: isZImageFile,
  },
  {
    label: 'Stable Diffusion 3.5 large',
    config: 'stabilityai/stable-diffusion-3.5-large',
    matches: (tensors) => denoiserTensor(tensors, 'joint_blocks.37.x_block.mlp.fc1.weight') !== undefined,
  },
  {
    label: 'Stable Diffusion 3.5 medium',
    config: 'stabilityai/stable-diffusion-3.5-medium',
    matches: (tensors) => denoiserTensor(tensors, 'pos_embed')?.shape[1] === 147_456,
  },
  {
    label: 'Stable Diffusion 3 medium',
    config: 'stabilityai/stable-diffusion-3-medium-diffusers',
    matches: (tensors) => denoiserTensor(tensors, 'joint_blocks.0.context_block.adaLN_modulation.1.bias') !== undefined,
  },
  {
    label: 'Playground v2.5',
    config: 'playgroundai/playground-v2.5-1024px-aesthetic',
    matches: (tensors) => tensors.has('edm_mean'),
  },
  {
    label: 'Stable Diffusion XL',
    config: 'stabilityai/stable-diffusion-xl-base-1.0',
    // diffusers looks for the second text encoder. A file of the UNet alone has none; the widths of the UNet show that it is for XL.
    matches: (tensors) =>
      hasNames(tensors, { prefix: 'conditioner.embedders.1.model.' }) ||
      (denoiserTensor(tensors, 'label_emb.0.0.weight') !== undefined &&
        width(tensors, 'input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight') === 2048),
  },
  {
    label: 'Stable Diffusion 2',
    config: 'stabilityai/stable-diffusion-2-1',
    matches: (tensors) =>
      width(tensors, 'input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight') === 1024 ||
      tensors.has('cond_stage_model.model.token_embedding.weight'),
  },
  {
    label: 'Stable Diffusion 1',
    config: 'stable-diffusion-v1-5/stable-diffusion-v1-5',
    matches: (tensors) => denoiserTensor(tensors, 'input_blocks.0.0.weight') !== undefined,
  },
]

/** A tensor of the denoiser. In files of the denoiser alone, its names have no prefix. */
function denoiserTensor(tensors: Originals, name: string): { readonly shape: readonly number[] } | undefined {
  return tensors.get(unet + name) ?? tensors.get(name)
}

/**
 * Refuses components whose weights have to be multiplied by scales, as ComfyUI publishes some. Scales of components that nothing needs do no harm.
 * @param components the components that are taken from the file, and how the names of each begin
 * @throws UnsupportedError `single-file-family`
 */
export function refuseScaledWeights(
  tensors: Originals,
  file: string,
  components: ReadonlyMap<string, Pick<OriginalNames, 'prefix'>>,
): void {
  const scales = [...tensors.keys()].filter((name) => /(?:^|\.)scaled_fp8$|\.(?:scale_weight|weight_scale)$/.test(name))
  for (const [component, { prefix }] of components)
    if (scales.some((name) => name.startsWith(prefix)))
      throw new UnsupportedError(
        'single-file-family',
        `The ${component} in ${file} has weights in 8 bits with a scale for each tensor (scaled_fp8). Aquatint does not read these, and diffusers would leave out the scales. Choose a file in bfloat16, float16 or plain float8, or name a repository that has this component: { ${component}: 'owner/name' }.`,
        { file, component },
      )
}

/** Kinds of files that people mistake for a checkpoint, or that no supported pipeline runs, with the message for each. */
const others: readonly { readonly what: string; readonly matches: (tensors: Originals) => boolean }[] = [
  {
    what: 'is a LoRA: it changes a checkpoint and is not a checkpoint itself',
    matches: (tensors) => [...tensors.keys()].some((name) => /\.lora_(?:up|down|A|B)\.|^lora_|\.hada_w1_a$|\.lokr_w1/.test(name)),
  },
  {
    what: 'is an inpainting checkpoint, which needs a pipeline that is not supported',
    matches: (tensors) => denoiserTensor(tensors, 'input_blocks.0.0.weight')?.shape[1] === 9,
  },
  {
    what: 'is an InstructPix2Pix checkpoint, which needs a pipeline that is not supported',
    matches: (tensors) => denoiserTensor(tensors, 'input_blocks.0.0.weight')?.shape[1] === 8,
  },
  {
    what: 'is the refiner of Stable Diffusion XL, which makes no image from a prompt alone',
    matches: (tensors) => hasNames(tensors, { prefix: 'conditioner.embedders.0.model.' }),
  },
  {
    what: 'is a ControlNet, which is not supported',
    matches: (tensors) =>
      hasNames(tensors, { prefix: 'control_model.' }) || hasNames(tensors, { prefix: 'controlnet_cond_embedding.' }),
  },
  {
    what: 'is a FLUX.1 Fill, Canny or Depth checkpoint, which needs a pipeline that is not supported',
    matches: (tensors) => isFluxFile(tensors) && width(tensors, 'img_in.weight') > 64,
  },
  {
    what: 'is a Chroma Radiance checkpoint, which makes pixels without an autoencoder and needs a pipeline that is not supported',
    matches: (tensors) => isChromaFile(tensors) && denoiserTensor(tensors, 'nerf_image_embedder.embedder.0.weight') !== undefined,
  },
  {
    what: 'is a FLUX.2 dev checkpoint, which needs a pipeline that is not supported',
    matches: (tensors) => isFlux2File(tensors) && denoiserTensor(tensors, 'guidance_in.in_layer.weight') !== undefined,
  },
  {
    what: "has diffusers' own names: it is one component, which fromPretrained takes by its address, such as { unet: 'https://…/file.safetensors' }",
    matches: (tensors) =>
      ['down_blocks.', 'transformer_blocks.', 'decoder.mid_block.', 'text_model.'].some((prefix) =>
        hasNames(tensors, { prefix }),
      ),
  },
  {
    what: "holds an autoencoder or text encoders alone: they replace those of a checkpoint, such as { vae: 'https://…/file.safetensors' }, and are not a checkpoint themselves",
    matches: (tensors) => singleFileComponents.some((component) => namesAlone(component, tensors) !== undefined),
  },
]

/** Recognizes the family of a single file. @throws UnsupportedError `single-file-family` */
export function recognizeFamily(tensors: Originals, file: string): SingleFileFamily {
  const other = others.slice(0, -1).find(({ matches }) => matches(tensors))
  const rule = other === undefined ? rules.find(({ matches }) => matches(tensors)) : undefined
  if (rule !== undefined) return rule
  const what = (other ?? others.findLast(({ matches }) => matches(tensors)))?.what ?? 'has tensors of no known family'
  const [first = 'none'] = tensors.keys()
  const allowed = rules.map(({ label }) => label)
  throw new UnsupportedError(
    'single-file-family',
    `${file} ${what}. Its first tensor is ${first.slice(0, 200)}; supported are single files of ${allowed.join(', ')}.`,
    { file, tensor: first.slice(0, 200), allowed },
  )
}
