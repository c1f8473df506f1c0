/** What fits into a GPU's memory, for the panel about the machine. A test compares the sizes with docs/memory-figures.md. */

import type { WeightsDType } from '../../index.js'

/** A model, the type of its weights, and what a picture of its default size needs with the VAE in tiles. */
export interface MemoryChoice {
  readonly label: string
  readonly dtype: WeightsDType
  /** All components at once, or one at a time. */
  readonly residence: 'resident' | 'model'
  /** The planned peak on the GPU, as in docs/memory-figures.md. */
  readonly peak: string
}

/** The choices for a GPU with this many GB. One GB is left to the screen and other programs. */
export interface MemoryRow {
  readonly memoryGb: number
  readonly choices: readonly MemoryChoice[]
}

const small: MemoryChoice = { label: 'Stable Diffusion 1.5', dtype: 'float16', residence: 'model', peak: '2.01 GB' }

/** The rows, from little memory to much. */
export const memoryRows: readonly MemoryRow[] = [
  { memoryGb: 4, choices: [small, { label: 'SDXL base', dtype: 'q4', residence: 'model', peak: '2.94 GB' }] },
  {
    memoryGb: 6,
    choices: [
      { ...small, residence: 'resident', peak: '2.96 GB' },
      { label: 'SDXL base', dtype: 'q8', residence: 'model', peak: '4.04 GB' },
      { label: 'Stable Diffusion 3 medium', dtype: 'q4', residence: 'model', peak: '3.18 GB' },
    ],
  },
  {
    memoryGb: 8,
    choices: [
      { label: 'SDXL base', dtype: 'float16', residence: 'model', peak: '6.13 GB' },
      { label: 'Stable Diffusion 3 medium', dtype: 'q8', residence: 'model', peak: '5.20 GB' },
    ],
  },
  {
    memoryGb: 12,
    choices: [
      { label: 'SDXL base', dtype: 'float16', residence: 'resident', peak: '7.76 GB' },
      { label: 'Stable Diffusion 3 medium', dtype: 'float16', residence: 'model', peak: '9.82 GB' },
    ],
  },
  { memoryGb: 16, choices: [{ label: 'Stable Diffusion 3 medium', dtype: 'q8', residence: 'resident', peak: '9.80 GB' }] },
]

const residences = { resident: 'all loaded at once', model: 'one component at a time' } as const

/** A choice in words, such as `SDXL base in q8: 4.04 GB, one component at a time`. A no-break space keeps each size on one line. */
export function choiceWords({ label, dtype, residence, peak }: MemoryChoice): string {
  return `${label} in ${dtype}: ${peak.replace(' ', '\u00a0')}, ${residences[residence]}`
}
