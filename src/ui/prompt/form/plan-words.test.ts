import { expect, test } from 'vitest'
import type { MemoryPlan, PipelinePlan, Residence } from '../../../index.js'
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
  label: 'Stable Diffusion XL',
  repo: 'a/b',
  revision: 'main',
  components: {},
  downloadBytes: 6_937_675_734,
  keptBytes: 6_937_675_734,
  diskBytes: 6_937_675_734,
  width: 1024,
  height: 1024,
  places: {},
  devices: {},
  warnings: [],
  notes: [],
  ...parts,
})

test.each<[Partial<PipelinePlan>, string]>([
  [
    { devices: { webgpu: on('model', 6.07e9) } },
    'Stable Diffusion XL. Downloads 6.94 GB once. A 1024 × 1024 picture needs up to 6.07 GB of GPU memory, loaded one component at a time.',
  ],
  [
    { devices: { wasm: on('resident', 3e6) }, label: 'Stable Diffusion', downloadBytes: 0, width: 64, height: 32 },
    'Stable Diffusion, already downloaded. A 64 × 32 picture is computed on the CPU.',
  ],
  [
    { devices: { wasm: on('model', 3e6), webgpu: on('block', 1e9), 'webgpu:1': on('resident', 2e9) } },
    'Stable Diffusion XL. Downloads 6.94 GB once. A 1024 × 1024 picture needs up to 1.00 GB of GPU memory, loaded block by block; up to 2.00 GB of GPU memory, all loaded at once.',
  ],
  [
    { devices: { webgpu: on('model', 4e9) }, keptBytes: 2e9, diskBytes: 8_937_675_734 },
    'Stable Diffusion XL. Downloads 6.94 GB once, keeps 2.00 GB on the disk and needs 8.94 GB while it loads. A 1024 × 1024 picture needs up to 4.00 GB of GPU memory, loaded one component at a time.',
  ],
  [
    { devices: { webgpu: on('model', 4e9) }, keptBytes: 8_937_675_734, diskBytes: 8_937_675_734 },
    'Stable Diffusion XL. Downloads 6.94 GB once, keeps 8.94 GB on the disk. A 1024 × 1024 picture needs up to 4.00 GB of GPU memory, loaded one component at a time.',
  ],
])('a plan in words, %#', (parts, words) => {
  expect(planWords(plan(parts))).toBe(words)
})
