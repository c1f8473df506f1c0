/** Whole images of checkpoints with odd files (fixtures/odd-files), where only the image would show a wrong choice between two forms. */

import { expect, test } from 'vitest'
import { loadPipeline } from './diffusion-pipeline.js'
import { oddRepository, readOddFilesCases, type OddFilesCase } from './testing-odd-files.node.js'

/** Relative to the largest value: both sides compute a hundred layers in float32. */
const tolerance = 1e-4

const changed = [
  'the old and the new name of one weight',
  'a text encoder in float64',
  'vae: mid_block_add_attention None',
  'another pad token in special_tokens_map.json',
  'force_zeros_for_empty_prompt None',
  'unet: freq_shift 0.5',
  'scheduler: steps_offset -1 of DDIM',
  "scheduler: _use_default_values ['beta_start', 'beta_end']",
]
const cases = readOddFilesCases().filter(({ name }) => changed.includes(name))

/** The first latents and pixels, as fixtures/generator/files/odd_files.py stores them. */
async function valuesOf(item: OddFilesCase): Promise<number[]> {
  const pipeline = await loadPipeline(oddRepository(item), { device: 'wasm' })
  try {
    const { captured = {} } = await pipeline.generate('a cute dog, running!', {
      numInferenceSteps: 2,
      guidanceScale: 3,
      width: 32,
      height: 32,
      seed: 5,
      capture: ['latents', 'image'],
    })
    const last = Object.keys(captured).findLast((name) => name.startsWith('latents_')) ?? ''
    return [last, 'image'].flatMap((name) => Array.from(captured[name]?.data.slice(0, 32) ?? []))
  } finally {
    await pipeline.dispose()
  }
}

test('the images are those of diffusers', async () => {
  expect(cases).toHaveLength(changed.length)
  const usual = await valuesOf({ kind: 0, name: 'unchanged', fixture: 'tiny-sd15', judged: 'same' })
  const largest = Math.max(...usual.map(Math.abs))
  for (const item of cases) {
    const expected = item.judged === 'same' ? usual : (item.values ?? [])
    const actual = await valuesOf(item)
    expect(actual).toHaveLength(64)
    const off = Math.max(...actual.map((value, i) => Math.abs(value - (expected[i] ?? Number.NaN))))
    expect(off / largest, item.name).toBeLessThan(tolerance)
  }
})
