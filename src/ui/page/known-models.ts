/** The models in the list of the page, with their sizes. A test compares the sizes with the published weight tables. */

import type { LoadPipelineOptions } from '../../index.js'
import type { ModelOption } from '../element.js'
import { formatBytes } from '../../util/format-bytes.js'
import type { Machine } from './machine.js'

/** The bundled model: small, and runs on any machine. */
export const bundledModel = './models/aquatint-emoji'
const bundledLabel = 'Emoji'

/** A published model. */
export interface KnownModel {
  readonly model: string
  readonly label: string
  readonly loadOptions: LoadPipelineOptions
  /** The size of all weights that are used: the download, and the space on the disk. */
  readonly downloadBytes: number
  /** The size of the largest component in float16. On the GPU it is smaller where `loadOptions.dtype` quantizes it. */
  readonly largestBytes: number
}

/** The models, small to large. */
export const knownModels: readonly KnownModel[] = [
  {
    model: 'stable-diffusion-v1-5/stable-diffusion-v1-5',
    label: 'Stable Diffusion 1.5',
    loadOptions: { variant: 'fp16' },
    downloadBytes: 2_132_470_768,
    largestBytes: 1_719_041_928,
  },
  {
    model: 'segmind/SSD-1B',
    label: 'SSD-1B, small SDXL',
    loadOptions: { variant: 'fp16' },
    downloadBytes: 4_465_417_174,
    largestBytes: 2_662_668_808,
  },
  {
    model: 'stabilityai/stable-diffusion-xl-base-1.0',
    label: 'Stable Diffusion XL',
    loadOptions: { variant: 'fp16' },
    downloadBytes: 6_937_675_734,
    largestBytes: 5_134_927_368,
  },
  {
    model: 'stabilityai/sdxl-turbo',
    label: 'SDXL-Turbo, 1 step',
    loadOptions: { variant: 'fp16' },
    downloadBytes: 6_937_675_734,
    largestBytes: 5_134_927_368,
  },
  {
    model: 'black-forest-labs/FLUX.2-klein-4B',
    label: 'FLUX.2-klein',
    loadOptions: { dtype: 'q8' },
    downloadBytes: 14_147_358_280,
    largestBytes: 7_751_089_152,
  },
  {
    model: 'Tongyi-MAI/Z-Image-Turbo',
    label: 'Z-Image-Turbo',
    loadOptions: { dtype: 'q8' },
    // The transformer is published in float32.
    downloadBytes: 32_630_343_750,
    largestBytes: 12_309_817_472,
  },
  {
    model: 'lodestones/Chroma1-HD',
    label: 'Chroma',
    loadOptions: { dtype: 'q8' },
    downloadBytes: 27_492_227_526,
    largestBytes: 17_799_966_848,
  },
]

/** The label of a model in the list of the page, or `model` itself if the list does not have it. */
export function modelLabel(model: string): string {
  if (model === bundledModel) return bundledLabel
  return knownModels.find((known) => known.model === model)?.label ?? model
}

/** The models as options of the prompt box, with a note on their cost and, once the machine is known, on whether they fit. */
export function modelOptions(machine: Machine | undefined): readonly ModelOption[] {
  const published = knownModels.map((known) => ({
    model: known.model,
    label: `${known.label} · ${formatBytes(known.downloadBytes)}`,
    loadOptions: known.loadOptions,
    note: modelNote(known, machine),
  }))
  return [
    {
      model: bundledModel,
      label: `${bundledLabel} · included`,
      note: 'Small emoji-like pictures, in seconds, on any machine.',
    },
    ...published,
  ]
}

/** Bytes of a weight in q8, with the scale of its block, per byte of a weight in float16. */
const q8PerFloat16 = (8 + 16 / 32) / 16

function modelNote({ downloadBytes, largestBytes, loadOptions }: KnownModel, machine: Machine | undefined): string {
  const quantized = loadOptions.dtype === 'q8'
  const float32 = !quantized && machine !== undefined && !machine.shaderF16
  const onDevice = largestBytes * (quantized ? q8PerFloat16 : float32 ? 2 : 1)
  const cost = `Downloads ${formatBytes(downloadBytes)} once; needs about ${formatBytes(onDevice)} of GPU memory${float32 ? ' in float32' : ''}, and more while generating.`
  return [cost, machine === undefined ? '' : fit(downloadBytes, machine)].filter((part) => part !== '').join(' ')
}

/** Whether a model fits. Says nothing about GPU memory, because browsers do not report it. */
function fit(downloadBytes: number, { gpu, quota, usage, memoryGb }: Machine): string {
  if (gpu !== 'gpu') return 'Too slow without a GPU.'
  if (quota !== undefined && usage !== undefined && quota - usage < downloadBytes) {
    return `Does not fit in the ${formatBytes(Math.max(0, quota - usage))} of storage that this page has left.`
  }
  return memoryGb !== undefined && memoryGb <= 4
    ? `May not fit in this machine’s ${memoryGb} GB of memory.`
    : 'Fits in this browser’s storage.'
}
