/**
 * Computes the tables of docs/memory-figures.md: the plans of published models at their default size (some also at 512 × 512), for each
 * type and residence. Loads no weights; their names and shapes are in fixtures/weight-tables.
 */

import { transformTable } from '../../src/checkpoint/transforms/transform-table.js'
import { dtypesOf, quantizingTransforms } from '../../src/pipelines/loading/dtypes.js'
import { autoencoderOf, heldOn, needsOn, type PlannedDevice } from '../../src/pipelines/planning/memory-needs.js'
import type { Network } from '../../src/pipelines/bind-network.js'
import type { WeightsDType } from '../../src/pipelines/types.js'
import { weightBytes, type ComponentNeeds } from '../../src/memory/needs.js'
import { leastBudget, leastWeightBudget, planMemory, type Residence } from '../../src/memory/plan.js'
import { capabilitiesOf, fusesGeglu, ownKernels } from '../../src/memory/device-info.js'
import { orThrow } from '../../src/memory/refusal.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { publishedNetwork } from './weight-tables.js'

/** A published pipeline: the names of its networks' weight tables, by component. */
export interface PublishedPipeline {
  readonly name: string
  /** Width and height of its images, in pixels. */
  readonly size: number
  readonly components: Readonly<Record<string, string>>
  /** Whether each step predicts with and without the prompt (classifier-free guidance). Default: true. */
  readonly guided?: boolean
  /** The prompt's tokens in T5 or a language model. Default: those of Stable Diffusion 3. */
  readonly maxSequenceLength?: number
  /** The pipeline's class, if it decides which tensors are used. */
  readonly className?: string
}

/** FLUX.1 dev. FLUX.1 schnell lacks only the embedding of the guidance scale, 0.1 % of the transformer. */
export const flux: PublishedPipeline = {
  name: 'FLUX.1',
  size: 1024,
  components: {
    text_encoder: 'sd15-text-encoder',
    text_encoder_2: 't5-xxl-encoder',
    transformer: 'flux-dev-transformer',
    vae: 'flux-vae',
  },
  guided: false,
  maxSequenceLength: 512,
}

/** Chroma1: FLUX.1 schnell without CLIP, with guidance, and with one network that computes all modulations. */
const chroma: PublishedPipeline = {
  name: 'Chroma',
  size: 1024,
  components: { text_encoder: 't5-xxl-encoder', transformer: 'chroma-transformer', vae: 'flux-vae' },
  maxSequenceLength: 512,
}

/** FLUX.2-klein-4B, distilled. */
export const klein: PublishedPipeline = {
  name: 'FLUX.2-klein-4B',
  size: 1024,
  components: { text_encoder: 'qwen3-4b', transformer: 'flux2-klein-4b-transformer', vae: 'flux2-vae' },
  guided: false,
  maxSequenceLength: 512,
  className: 'Flux2KleinPipeline',
}

export const zImageTurbo: PublishedPipeline = {
  name: 'Z-Image-Turbo',
  size: 1024,
  components: { text_encoder: 'qwen3-4b', transformer: 'z-image-transformer', vae: 'flux-vae' },
  guided: false,
  maxSequenceLength: 512,
  className: 'ZImagePipeline',
}

/** The image size, in pixels, of the second table that some models have. */
const small = 512

const pipelines: readonly PublishedPipeline[] = [
  {
    name: 'Stable Diffusion 1.5',
    size: 512,
    components: { text_encoder: 'sd15-text-encoder', unet: 'sd15-unet', vae: 'sd15-vae' },
  },
  {
    name: 'SDXL base',
    size: 1024,
    components: { text_encoder: 'sdxl-text-encoder', text_encoder_2: 'sdxl-text-encoder-2', unet: 'sdxl-unet', vae: 'sdxl-vae' },
  },
  {
    name: 'Stable Diffusion 3 medium',
    size: 1024,
    components: {
      text_encoder: 'sd3-text-encoder',
      text_encoder_2: 'sdxl-text-encoder-2',
      text_encoder_3: 't5-xxl-encoder',
      transformer: 'sd3-medium-transformer',
      vae: 'sd3-vae',
    },
  },
  flux,
  chroma,
  klein,
  { ...klein, size: small },
  zImageTurbo,
  { ...zImageTurbo, size: small },
]

/** The values of `dtype`; each is a column. */
const words: readonly WeightsDType[] = ['float32', 'float16', 'q8', 'q4']

/** A GPU that supports every type, and whose buffers are large enough for every tensor. */
export const device = {
  info: {
    name: 'webgpu',
    kind: 'webgpu',
    description: '',
    isFallbackAdapter: false,
    shaderF16: true,
    maxBufferSize: 2 ** 33,
    kernels: ownKernels,
    capabilities: capabilitiesOf.webgpu,
  },
  writeOptions: ({ dtype, granularity }) => ({
    dtype,
    weights: capabilitiesOf.webgpu.weightsAs,
    granularity,
    fusesGeglu: fusesGeglu(dtype, { shaderF16: true, capabilities: capabilitiesOf.webgpu }),
  }),
} as const satisfies PlannedDevice

/** Returns all tables in Markdown. */
export function publishedTables(): string {
  return pipelines.map(tableOf).join('\n\n')
}

/** The memory that one image needs, for each component and in total. */
export interface Needs {
  readonly components: readonly ComponentNeeds[]
  readonly held: number
}

/** The memory that one image of the pipeline's `size` needs, with weights of one type. */
export function needsIn(word: WeightsDType, pipeline: PublishedPipeline, fromImage: boolean): Needs {
  const { size: pixels, components, guided, maxSequenceLength, className } = pipeline
  const stored = Object.entries(components).map(([name, table]) =>
    publishedNetwork(name, table, word === 'float32' ? 'F32' : 'F16', className),
  )
  const dtypes = dtypesOf(word, stored)
  const networks = new Map(
    stored.map((network): [string, Network] => {
      const { compute, quantization } = dtypes.get(network.name) ?? {}
      const table =
        quantization === undefined
          ? network.table
          : transformTable(network.table, quantizingTransforms(quantization, network.model.sensitive))
      return [network.name, { ...network, table, dtype: compute }]
    }),
  )
  const edge = pixels / (autoencoderOf(networks)?.model.scaleFactor ?? 8)
  const size = { width: edge, height: edge, fromImage, guided, maxSequenceLength }
  const request = { device, networks, here: () => true, dtype: 'float16', vaeTiling: undefined, size } as const
  const needs = needsOn(request)
  return { components: needs, held: heldOn(request, needs) }
}

function row(title: string, cells: readonly string[]): string {
  return `| ${[title, ...cells].join(' | ')} |`
}

/** Bytes by component and residence, with a column for each type. */
function tableOf(pipeline: PublishedPipeline): string {
  const columns = words.map((word) => needsIn(word, pipeline, false))
  const encoders = words.map((word) => needsIn(word, pipeline, true).components.filter(({ part }) => part === 'encoder'))
  const lines = [
    `**${pipeline.name}**, ${pipeline.size} × ${pipeline.size}, one image${pipeline.guided === false ? ', one prediction in each step' : ' with guidance'}`,
    '',
    row('', words),
    row(
      '---',
      words.map(() => '---:'),
    ),
  ]
  for (const name of Object.keys(pipeline.components)) {
    const needs = columns.map(({ components }) => components.find((one) => one.name === name)).filter((one) => one !== undefined)
    lines.push(...componentRows(name, needs).map(({ title, bytes }) => row(title, bytes.map(formatBytes))))
  }
  const encoding = componentRows('vae, encoder (image to image)', encoders.flat())
  lines.push(...encoding.map(({ title, bytes }) => row(title, bytes.map(formatBytes))))
  const tile = columns[0]?.components.flatMap(({ ways }) => ways.at(-1)?.tile ?? []).at(-1)
  for (const [residence, inTiles] of peaks) {
    const bytes = columns.map(({ components, held }) =>
      peakOf(inTiles ? components.map(inSmallestTiles) : components, held, residence),
    )
    lines.push(
      row(
        `**peak, \`${residence}\`${inTiles ? `, in tiles of ${tile}` : ''}**`,
        bytes.map((peak) => `**${formatBytes(peak)}**`),
      ),
    )
  }
  return lines.join('\n')
}

function componentRows(
  name: string,
  needs: readonly ComponentNeeds[],
): { readonly title: string; readonly bytes: readonly number[] }[] {
  const ways = needs[0]?.ways ?? []
  return [
    { title: `${name}: all weights`, bytes: needs.map(weightBytes) },
    { title: '– one block, and the next', bytes: needs.map((one) => Math.min(leastWeightBudget(one), weightBytes(one))) },
    ...ways.map(({ tile }, index) => ({
      title: tile === undefined ? '– a run, beside weights' : `– a run in tiles of ${tile}`,
      bytes: needs.map((one) => one.ways[index]?.activationBytes ?? 0),
    })),
  ]
}

const peaks: readonly (readonly [Residence, boolean])[] = [
  ['resident', false],
  ['model', false],
  ['resident', true],
  ['model', true],
  ['block', true],
]

function inSmallestTiles(needs: ComponentNeeds): ComponentNeeds {
  return { ...needs, ways: needs.ways.slice(-1) }
}

/** Returns the planned peak; for `block`, the peak of a plan that keeps no block and uploads the next block in advance. */
function peakOf(needs: readonly ComponentNeeds[], held: number, residence: Residence): number {
  const options = { offload: residence, maxMemory: Number.MAX_SAFE_INTEGER, heldBytes: held }
  return residence === 'block' ? leastBudget(needs, residence, held) : orThrow(planMemory(needs, options)).peakBytes
}
