/**
 * Computes two tables. That of docs/memory.md has, for each published model and size of GPU memory, the options with which the model fits.
 * That of docs/memory-figures.md has the plan for each budget. Loads no weights.
 */

import { fastestFit, type MemoryPlan, type Residence } from '../../src/memory/plan.js'
import { isRefusal } from '../../src/memory/refusal.js'
import { planOn } from '../../src/pipelines/planning/residence.js'
import type { WeightsDType } from '../../src/pipelines/types.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { device, flux, klein, needsIn, zImageTurbo, type PublishedPipeline } from './published-tables.js'

const xl = { text_encoder: 'sdxl-text-encoder', text_encoder_2: 'sdxl-text-encoder-2', vae: 'sdxl-vae' }
const sd3 = { text_encoder: 'sd3-text-encoder', text_encoder_2: 'sdxl-text-encoder-2', vae: 'sd3-vae' }
const t5 = { text_encoder_3: 't5-xxl-encoder' }

const pipelines: readonly PublishedPipeline[] = [
  {
    name: 'Stable Diffusion 1.5',
    size: 512,
    components: { text_encoder: 'sd15-text-encoder', unet: 'sd15-unet', vae: 'sd15-vae' },
  },
  {
    name: 'Stable Diffusion 2.1',
    size: 768,
    components: { text_encoder: 'sd21-text-encoder', unet: 'sd21-unet', vae: 'sd21-vae' },
  },
  { name: 'SSD-1B', size: 1024, components: { ...xl, unet: 'ssd-1b-unet' } },
  { name: 'SDXL base', size: 1024, components: { ...xl, unet: 'sdxl-unet' } },
  {
    name: 'Stable Diffusion 3 medium, `text_encoder_3: null`',
    size: 1024,
    components: { ...sd3, transformer: 'sd3-medium-transformer' },
  },
  { name: 'Stable Diffusion 3 medium', size: 1024, components: { ...sd3, ...t5, transformer: 'sd3-medium-transformer' } },
  { name: 'Stable Diffusion 3.5 medium', size: 1024, components: { ...sd3, ...t5, transformer: 'sd35-medium-transformer' } },
  flux,
  klein,
  zImageTurbo,
]

/** The table of budgets: the budgets in gigabytes, the edges of the images, and the models. */
const budgets = [8, 6, 4, 2]
const edges = [512, 1024]
const budgeted = [klein, zImageTurbo]

/** Gigabytes of a GPU's memory, and how many gigabytes are reserved for the page, the browser and the screen. */
const sizes = [4, 6, 8, 12, 16]
const reserved = 1

/** The types of weights, the most exact first. */
const dtypes: readonly WeightsDType[] = ['float16', 'q8', 'q4']

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

/** Returns the table in Markdown. */
export function optionsTable(): string {
  return [
    row(['GPU memory', ...sizes.map((size) => `${size} GB`)]),
    row(['`maxMemory`', ...sizes.map((size) => `\`'${size - reserved}GB'\``)]).replace(
      /^/,
      `${row(['---', ...sizes.map(() => '---')])}\n`,
    ),
    ...pipelines.map((pipeline) => row([pipeline.name, ...cellsOf(pipeline)])),
  ].join('\n')
}

/** A plan for one model, image size, type of weights and budget. `plan` is null if no plan fits. */
interface BudgetPlan {
  readonly pipeline: PublishedPipeline
  readonly dtype: WeightsDType
  /** The most bytes of GPU buffers that the plan may have. */
  readonly limit: number
  readonly plan: MemoryPlan | null
}

/** The plans of the models for the budgets, in the order of the table's cells. */
export function budgetPlans(): BudgetPlan[] {
  return budgeted.flatMap((model) =>
    edges.flatMap((size) => {
      const pipeline = { ...model, size }
      return dtypes.flatMap((dtype) => {
        const { components, held } = needsIn(dtype, pipeline, false)
        return budgets.map((gigabytes): BudgetPlan => {
          const limit = gigabytes * 1e9
          const offload = fastestFit(components, limit, held)
          const budget = { limit, target: undefined }
          const plan = planOn({ offload, needs: components, heldBytes: held, budget, device: device.info })
          if (!isRefusal(plan) && plan.peakBytes > limit)
            throw new Error(`The plan of ${pipeline.name} in ${dtype} exceeds ${limit} bytes.`)
          return { pipeline, dtype, limit, plan: isRefusal(plan) ? null : plan }
        })
      })
    }),
  )
}

/** Returns the table of budgets in Markdown. */
export function budgetTable(): string {
  const rows = new Map<string, string[]>()
  for (const { pipeline, dtype, plan } of budgetPlans()) {
    const title = `${pipeline.name}, ${pipeline.size} × ${pipeline.size}, \`${dtype}\``
    rows.set(title, [...(rows.get(title) ?? []), plan === null ? 'does not fit' : planCell(plan)])
  }
  return [
    row(['`maxMemory`', ...budgets.map((size) => `${size} GB`)]),
    row(['---', ...budgets.map(() => '---')]),
    ...[...rows].map(([title, cells]) => row([title, ...cells])),
  ].join('\n')
}

function planCell({ residence, peakBytes, components }: MemoryPlan): string {
  const streamed = components.filter(({ streamedBytes }) => streamedBytes > 0)
  const uploads = streamed.map(({ name, streamedBytes }) => `${formatBytes(streamedBytes)} of ${name}`)
  return [residence, formatBytes(peakBytes), ...(uploads.length === 0 ? [] : [`uploads ${uploads.join(', ')}`])].join(', ')
}

/**
 * A model's cells, one for each size of memory: the type of the weights, the residence, and the planned peak. The type is the most exact
 * one that fits without uploading blocks in each step, or else the most exact one that fits.
 */
function cellsOf(pipeline: PublishedPipeline): string[] {
  const needs = dtypes.map((dtype) => ({ dtype, needed: needsIn(dtype, pipeline, false) }))
  return sizes.map((size) => {
    const limit = (size - reserved) * 1e9
    const plans = needs.flatMap(({ dtype, needed: { components, held } }) => {
      const offload = fastestFit(components, limit, held)
      const budget = { limit, target: undefined }
      const plan = planOn({ offload, needs: components, heldBytes: held, budget, device: device.info })
      return isRefusal(plan) ? [] : [{ dtype, residence: plan.residence, peak: plan.peakBytes }]
    })
    // Prefer less exact weights that stay on the GPU to more exact ones that each step uploads: uploads slow a step down far more than the type does.
    const best = plans.find(({ residence }) => residence !== 'block') ?? plans[0]
    return best === undefined ? 'does not fit' : wordsFor(best)
  })
}

function wordsFor({ dtype, residence, peak }: { dtype: WeightsDType; residence: Residence; peak: number }): string {
  return `\`${dtype}\`, ${residence}, ${formatBytes(peak)}`
}
