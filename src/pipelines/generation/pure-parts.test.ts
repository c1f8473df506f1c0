/** Tests small parts of pipelines alone: images, guidance, previews, and joining tensors. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FolderFiles } from '../../checkpoint/layouts/diffusers-folder.js'
import { memoryRepository } from '../../checkpoint/testing.js'
import { rescaledGuidance } from './guidance.js'
import { denormalize, toPixels } from '../images/image-processor.js'
import { families } from '../families.js'
import { stableDiffusion } from '../families/stable-diffusion.js'
import { stableDiffusion3 } from '../families/stable-diffusion-3.js'
import { latentPreview } from '../images/latent-preview.js'
import { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import { loadTokenizer } from '../loading/load-tokenizer.js'
import { batchPieces, emptyPrompt, sideBySide } from '../prompts/prompt-embeds.js'
import { concatBatch, repeatBatch } from '../tensors.js'
import { Recorder } from '../run.js'

const readT5 = (name: string) => readFileSync(new URL(`../../../fixtures/tokenizers/t5/${name}`, import.meta.url))

/** A T5 tokenizer from a folder with these files of the fixture. */
function loadT5(...names: string[]) {
  const repository = memoryRepository(Object.fromEntries(names.map((name) => [`tokenizer_3/${name}`, readT5(name)])))
  return loadTokenizer(T5Tokenizer, new FolderFiles(repository, 'tokenizer_3'), undefined)
}

test('T5’s tokenizer from a folder that has no tokenizer.json', async () => {
  const [bare, usual] = [await loadT5('spiece.model'), await loadT5('spiece.model', 'tokenizer.json', 'tokenizer_config.json')]
  const text = 'Three boats, <extra_id_7> ﬁnd a lake'
  expect(bare.encodePadded(text, 32)).toEqual(usual.encodePadded(text, 32))
  await expect(loadT5('tokenizer_config.json')).rejects.toMatchObject({ code: 'tokenizer-vocabulary' })
})

const tensor = (dims: number[], ...data: number[]) => ({ dims, data: Float32Array.from(data) })

test('images: channels last, clamped, rounded halves to even', () => {
  const sample = tensor([1, 3, 1, 2], -1, 3, 0, -3, 1, 0.5)
  const image = denormalize(sample)
  expect(image).toEqual(tensor([1, 1, 2, 3], 0, 0.5, 1, 1, 0, 0.75))
  const [pixels] = toPixels(image)
  // numpy: (0.5 * 255).round() = 128, (0.75 * 255).round() = 191
  expect([...pixels!.data]).toEqual([0, 128, 255, 255, 255, 0, 191, 255])
  const halves = tensor([1, 1, 1, 3], 0.5 / 255, 1.5 / 255, 2.5 / 255)
  expect([...toPixels(halves)[0]!.data]).toEqual([0, 2, 2, 255])
})

test('guidance moves the unconditional prediction towards the conditional one, and rescaling gives the result its standard deviation', () => {
  const text = [-1, 1, -2, 2]
  const both = Float32Array.of(2, -2, 0, 0, ...text)
  expect([...rescaledGuidance(both, 2, { scale: 2, rescale: 0 })]).toEqual([-4, 4, -4, 4])
  const full = rescaledGuidance(both, 2, { scale: 2, rescale: 1 })
  for (const [i, value] of text.entries()) expect(full[i]).toBeCloseTo(value, 6)
})

test('a preview has one pixel per latent pixel, and none for latents of another kind', () => {
  const latents = { dims: [2, 4, 3, 5], data: Float32Array.from({ length: 120 }, (_, i) => Math.sin(i)) }
  const preview = latentPreview(latents, stableDiffusion.preview)!
  expect([preview.width, preview.height, preview.data.length]).toEqual([5, 3, 60])
  expect(new Set(preview.data).size).toBeGreaterThan(5)
  expect(latentPreview(latents, stableDiffusion3.preview)).toBeNull()
})

test('tensors are concatenated', () => {
  const a = tensor([1, 2, 2], 1, 2, 3, 4)
  expect(concatBatch([a, a])).toEqual(tensor([2, 2, 2], 1, 2, 3, 4, 1, 2, 3, 4))
  expect(repeatBatch(tensor([1, 2, 1], 5, 6), 3)).toEqual(tensor([3, 2, 1], 5, 6, 5, 6, 5, 6))
})

/** A tensor of which only the shape is used. */
const shaped = (dims: number[]) => ({ type: 'float32' as const, ...tensor(dims) })

test('the parts of prompt embeddings are at their positions, the unconditional half first', () => {
  const [a, b] = [shaped([1, 77, 3]), shaped([1, 77, 5])]
  const text = sideBySide([a, b])
  expect(text).toEqual({
    dims: [77, 8],
    parts: [
      { tensor: a, at: [0, 0] },
      { tensor: b, at: [0, 3] },
    ],
  })
  expect(batchPieces([emptyPrompt({ embeds: text, pooled: null }).embeds, text], 2)).toEqual([
    { tensor: a, at: [2, 0, 0] },
    { tensor: b, at: [2, 0, 3] },
    { tensor: a, at: [3, 0, 0] },
    { tensor: b, at: [3, 0, 3] },
  ])
  const pooled = sideBySide([shaped([1, 4])])
  expect([pooled.dims, batchPieces([pooled], 1)[0]?.at]).toEqual([[4], [0, 0]])
})

test('the recorder keeps copies of the requested tensors', () => {
  const recorder = new Recorder(['latents'])
  const latents = tensor([1], 1)
  recorder.keep('latents', latents, 0)
  recorder.keep('image', latents)
  latents.data[0] = 2
  expect(recorder.captured).toEqual({ latents_0: tensor([1], 1) })
  expect(new Recorder().captured).toBeUndefined()
})

test('each pipeline class says by which statistics of the autoencoder it scales latents', () => {
  for (const { className, latentScales, latentStatistics = [] } of families) {
    const usual = { factor: 0.5, shift: 0, mean: null, std: null }
    const reads = (statistics: object) =>
      JSON.stringify(latentScales({ ...usual, ...statistics }, 1)) !== JSON.stringify(latentScales(usual, 1))
    expect(reads({ shift: 3 }), className).toBe(latentStatistics.includes('shift_factor'))
    expect(reads({ mean: [3], std: [4] }), className).toBe(latentStatistics.includes('latents_mean'))
  }
})
