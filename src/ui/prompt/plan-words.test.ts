import { expect, test } from 'vitest'
import type { MemoryPlan, PipelinePlan, Residence } from '../../index.js'
import { planWords } from './plan-words.js'

const on = (residence: Residence, peakBytes: number): MemoryPlan => ({
  residence,
  peakBytes,
  maxMemory: 8e9,
  components: [],
  heldBytes: 0,
})
const plan = (parts: Partial<PipelinePlan>): PipelinePlan => ({
  className: 'StableDiffusionXLPipeline',
  repo: 'a/b',
  revision: 'main',
  components: {},
  downloadBytes: 6_937_675_734,
  width: 1024,
  height: 1024,
  places: {},
  devices: {},
  warnings: [],
  ...parts,
})

test.each<[Partial<PipelinePlan>, string]>([
  [
    { devices: { webgpu: on('model', 6.07e9) } },
    'Stable Diffusion XL. Downloads 6.94 GB once and keeps it. A picture of 1024 × 1024 takes at most 6.07 GB of graphics memory, one part of it at a time.',
  ],
  [
    { devices: { wasm: on('resident', 3e6) }, className: 'StableDiffusionPipeline', downloadBytes: 0, width: 64, height: 32 },
    'Stable Diffusion, already on this machine. A picture of 64 × 32 is made on the processor.',
  ],
  [
    { devices: { wasm: on('model', 3e6), webgpu: on('block', 1e9), 'webgpu:1': on('resident', 2e9) } },
    'Stable Diffusion XL. Downloads 6.94 GB once and keeps it. A picture of 1024 × 1024 takes at most 1.00 GB of graphics memory, block by block; at most 2.00 GB of graphics memory, all of it at once.',
  ],
])('a plan in words, %#', (parts, words) => {
  expect(planWords(plan(parts))).toBe(words)
})
