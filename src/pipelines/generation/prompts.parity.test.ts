/** Compares lists of prompts, prompt embeddings and weighted prompts with diffusers, compel and the web UI's rule (fixtures/prompts). */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { loadPipeline, type LoadedPipeline } from '../diffusion-pipeline.js'
import { diskRepository, fixtures, readReference } from '../testing.node.js'
import { psnr, relativeError } from '../testing.js'
import type { GenerateOptions, PlainTensor, PromptWeighting } from '../types.js'

interface Case {
  fixture: string
  seed: number
  arguments: Record<string, unknown>
}
interface WeightedCase {
  fixture: string
  rule: PromptWeighting
  prompt: string
}
const folder = join(fixtures, 'prompts')
const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8')) as Case[]
const weightedCases = JSON.parse(readFileSync(join(folder, 'weighting.json'), 'utf8')) as WeightedCase[]
const weighted = readReference(join(folder, 'weighting.safetensors'))
const camelCase = (key: string) => key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

/** Both sides compute in float32: see diffusion-pipeline.parity.test.ts. */
const tolerance = 1e-4

const pipelines = new Map<string, Promise<LoadedPipeline>>()
const load = (fixture: string): Promise<LoadedPipeline> => {
  const pipeline = pipelines.get(fixture) ?? loadPipeline(diskRepository(join(fixtures, fixture, 'repo')), { device: 'wasm' })
  pipelines.set(fixture, pipeline)
  return pipeline
}
afterAll(async () => {
  for (const pipeline of pipelines.values()) await (await pipeline).dispose()
})

test.each(cases.map((item, k) => [k, item.fixture, JSON.stringify(item.arguments), item] as const))(
  'case %i gives the embeddings and the image of diffusers: %s %s',
  async (k, fixture, _, item) => {
    const reference = readReference(join(folder, `${k}.safetensors`))
    const given = Object.entries(reference)
      .filter(([name]) => name.startsWith('given_'))
      .map(([name, tensor]) => [camelCase(name.slice('given_'.length)), tensor] as const)
    const { prompt = null, ...rest } = item.arguments
    const options: GenerateOptions = {
      ...Object.fromEntries(Object.entries(rest).map(([key, value]) => [camelCase(key), value])),
      ...Object.fromEntries(given),
      seed: item.seed,
      numInferenceSteps: 2,
      guidanceScale: 4,
      width: 32,
      height: 32,
      capture: ['prompt_embeds', 'negative_prompt_embeds', 'pooled_prompt_embeds', 'negative_pooled_prompt_embeds', 'image'],
    }
    const pipeline = await load(fixture)
    const { captured = {}, images } = await pipeline.generate(prompt as string[] | null, options)
    const names = Object.keys(reference).filter((name) => !name.startsWith('given_'))
    expect(names).toContain('image')
    for (const name of names) expect.soft(relativeError(captured[name], reference[name]!), name).toBeLessThan(tolerance)
    expect(psnr(captured['image']!, reference['image']!)).toBeGreaterThan(90)
    expect(images).toHaveLength(reference['image']!.dims[0]!)
  },
)

test.each(weightedCases.map((item, k) => [k, item.fixture, item.rule, item.prompt, item] as const))(
  'weighted prompt %i gives the embeddings of the fixture: %s %s %s',
  async (k, fixture, rule, prompt) => {
    const pipeline = await load(fixture)
    const { promptEmbeds, pooledPromptEmbeds } = await pipeline.encodePrompt(prompt, { promptWeighting: rule })
    expect(relativeError(promptEmbeds, weighted[String(k)]!)).toBeLessThan(tolerance)
    const pooled = weighted[`${k}_pooled`]
    if (pooled === undefined) expect(pooledPromptEmbeds).toBeUndefined()
    else expect(relativeError(pooledPromptEmbeds, pooled)).toBeLessThan(tolerance)
  },
)

test('Weights change the embeddings only where promptWeighting is set, and plain prompts stay as they are with it', async () => {
  const pipeline = await load('tiny-sd15')
  const encode = async (prompt: string, promptWeighting?: PromptWeighting) =>
    (await pipeline.encodePrompt(prompt, { promptWeighting })).promptEmbeds!
  const plain = await encode('a red house by the sea')
  for (const rule of ['a1111', 'compel'] as const)
    expect(relativeError(await encode('a red house by the sea', rule), plain)).toBe(0)
  expect(relativeError(await encode('a (red:1.4) house by the sea'), plain)).toBeGreaterThan(0.01)
  expect(relativeError(await encode('a (red:1.4) house by the sea', 'a1111'), plain)).toBeGreaterThan(0.01)
})

test('A prompt of several chunks may have a shorter negative prompt, and its encoded embeddings give the same image', async () => {
  const pipeline = await load('tiny-sdxl')
  const options = {
    numInferenceSteps: 1,
    width: 32,
    height: 32,
    seed: 3,
    promptWeighting: 'a1111',
    negativePrompt: 'dark',
  } as const
  const prompt = 'a (red:1.4) house BREAK by the sea'
  const direct = await pipeline.generate(prompt, { ...options, capture: ['prompt_embeds', 'negative_prompt_embeds'] })
  expect(direct.captured?.['prompt_embeds']?.dims[1]).toBe(154)
  expect(direct.captured?.['negative_prompt_embeds']?.dims[1]).toBe(154)
  const embeddings = await pipeline.encodePrompt(prompt, { promptWeighting: 'a1111', negativePrompt: 'dark' })
  const { promptWeighting: _, negativePrompt: __, ...rest } = options
  const again = await pipeline.generate(null, { ...rest, ...embeddings })
  expect(again.images).toEqual(direct.images)
})

test('Stable Diffusion 3 weights the CLIP embeddings; T5 reads the text without the signs', async () => {
  const pipeline = await load('tiny-sd3')
  const options = { maxSequenceLength: 16 }
  const plain = (await pipeline.encodePrompt('a red house', options)).promptEmbeds!
  const signs = (await pipeline.encodePrompt('a (red:1.5) house', { ...options, promptWeighting: 'a1111' })).promptEmbeds!
  expect(signs.dims).toEqual(plain.dims)
  expect(rows(signs, 77, 93)).toEqual(rows(plain, 77, 93))
  expect(rows(signs, 0, 77)).not.toEqual(rows(plain, 0, 77))
})

test('Prompts of Chroma are encoded with their masks, and give the image of their text', async () => {
  const pipeline = await load('tiny-chroma')
  const run = { numInferenceSteps: 1, width: 16, height: 16, seed: 3, maxSequenceLength: 16 } as const
  const texts = { negativePrompt: 'dark', maxSequenceLength: 16 }
  const embeddings = await pipeline.encodePrompt(['a dog', 'a red house by the sea'], texts)
  expect(embeddings.promptAttentionMask?.dims).toEqual([2, 16])
  const { images } = await pipeline.generate(null, { ...run, ...embeddings })
  expect(images).toEqual((await pipeline.generate(['a dog', 'a red house by the sea'], { ...run, ...texts })).images)
})

test('FLUX.1 takes a negative prompt as text or as embeddings, and says that trueCfgScale is not used without one', async () => {
  const pipeline = await load('tiny-flux')
  const run = { numInferenceSteps: 1, width: 16, height: 16, seed: 3, maxSequenceLength: 16 } as const
  const embeddings = await pipeline.encodePrompt('a dog', { negativePrompt: 'dark', maxSequenceLength: 16 })
  expect(embeddings.negativePooledPromptEmbeds?.dims).toEqual(embeddings.pooledPromptEmbeds?.dims)
  const guided = await pipeline.generate('a dog', { ...run, negativePrompt: 'dark', trueCfgScale: 2 })
  expect((await pipeline.generate(null, { ...run, ...embeddings, trueCfgScale: 2 })).images).toEqual(guided.images)
  const plain = await pipeline.generate('a dog', { ...run, trueCfgScale: 2 })
  expect(plain.warnings).toEqual(['trueCfgScale is not used without negativePrompt.'])
  expect(plain.images).toEqual((await pipeline.generate('a dog', { ...run, negativePrompt: 'dark' })).images)
  expect(plain.images).not.toEqual(guided.images)
})

/** The values of some tokens of embeddings. */
function rows(tensor: PlainTensor, from: number, to: number): Float32Array {
  const width = tensor.dims[2]!
  return tensor.data.slice(from * width, to * width)
}

/** Zeros of this shape. */
const embeds = (...dims: number[]): PlainTensor => ({ dims, data: new Float32Array(dims.reduce((a, b) => a * b, 1)) })

describe('what is refused', () => {
  test.each<[string, string, string | readonly string[] | null, GenerateOptions, string]>([
    ['an empty list', 'tiny-sd15', [], {}, 'prompt'],
    ['no prompt', 'tiny-sd15', null, {}, 'prompt'],
    ['negative prompts of another number', 'tiny-sd15', ['a', 'b'], { negativePrompt: ['c'] }, 'prompt'],
    ['a prompt beside embeddings', 'tiny-sd15', 'a', { promptEmbeds: embeds(1, 77, 32) }, 'prompt-embeds'],
    ['embeddings of another width', 'tiny-sd15', null, { promptEmbeds: embeds(1, 77, 31) }, 'prompt-embeds'],
    ['embeddings without a mask', 'tiny-chroma', null, { promptEmbeds: embeds(1, 24, 32) }, 'prompt-embeds'],
    [
      'a mask of another length',
      'tiny-chroma',
      null,
      { promptEmbeds: embeds(1, 24, 32), promptAttentionMask: embeds(1, 23) },
      'prompt-embeds',
    ],
    ['embeddings without a batch', 'tiny-sd15', null, { promptEmbeds: embeds(77, 32) }, 'prompt-embeds'],
    ['embeddings without the pooled ones', 'tiny-sdxl', null, { promptEmbeds: embeds(1, 77, 64) }, 'prompt-embeds'],
    ['pooled embeddings alone', 'tiny-sdxl', 'a', { pooledPromptEmbeds: embeds(1, 32) }, 'prompt-embeds'],
    ['a mask alone', 'tiny-sdxl', 'a', { promptAttentionMask: embeds(1, 77) }, 'prompt-embeds'],
    ['a negative mask alone', 'tiny-sdxl', 'a', { negativePromptAttentionMask: embeds(1, 77) }, 'prompt-embeds'],
    ['more images than are allowed', 'tiny-sd15', ['a', 'b'], { numImagesPerPrompt: 33 }, 'num-images-per-prompt'],
    ['an unknown rule', 'tiny-sd15', 'a', { promptWeighting: 'other' as PromptWeighting }, 'prompt-weighting'],
    ['a very long prompt', 'tiny-sd15', 'a BREAK '.repeat(40), { promptWeighting: 'a1111' }, 'prompt'],
  ])('%s', async (_, fixture, prompt, options, code) => {
    const pipeline = await load(fixture)
    await expect(pipeline.generate(prompt, options)).rejects.toMatchObject({ code })
  })
})
