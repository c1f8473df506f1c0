/**
 * Textual inversions give the prompt embeddings of diffusers. In prompts with weights they give the embeddings of compel, and of the web
 * UI's rule (fixtures/textual-inversion).
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { float32File, memoryRepository } from '../checkpoint/testing.js'
import { loadPipeline } from './diffusion-pipeline.js'
import { diskRepository, fixtures, readReference } from './testing.node.js'
import { relativeError } from './testing.js'
import type { PipelineProgress, PromptWeighting } from './types.js'

interface Case {
  readonly fixture: string
  readonly embeddings: readonly { readonly file: string; readonly token?: string }[]
  readonly rule?: PromptWeighting
  readonly prompt: string
  readonly negative_prompt: string
}

const folder = join(fixtures, 'textual-inversion')
const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8')) as Case[]
const load = (fixture: string) => loadPipeline(diskRepository(join(fixtures, fixture, 'repo')), { device: 'wasm' })
const source = (path: string, bytes: Uint8Array) => ({ repository: memoryRepository({ [path]: bytes }), path })

test.each(cases.map((item, k) => [k, item.prompt, item] as const))(
  'case %i gives the embeddings of diffusers: %s',
  async (k, prompt, item) => {
    const pipeline = await load(item.fixture)
    const encode = () => pipeline.encodePrompt(prompt, { negativePrompt: item.negative_prompt, promptWeighting: item.rule })
    const plain = await encode()
    for (const { file, token } of item.embeddings) {
      const path = `${file}.safetensors`
      const options = token === undefined ? {} : { token }
      await pipeline.adapters({ type: 'load-embedding', source: source(path, readFileSync(join(folder, path))), options })
    }
    const made = await encode()
    const found: Record<string, typeof made.promptEmbeds> = {
      prompt_embeds: made.promptEmbeds,
      negative_prompt_embeds: made.negativePromptEmbeds,
      pooled_prompt_embeds: made.pooledPromptEmbeds,
      negative_pooled_prompt_embeds: made.negativePooledPromptEmbeds,
    }
    // The bound of prompts without learned words, in diffusion-pipeline.parity.test.ts.
    for (const [name, expected] of Object.entries(readReference(join(folder, `reference-${k}.safetensors`))))
      expect.soft(relativeError(found[name], expected), name).toBeLessThan(1e-4)
    await pipeline.adapters({ type: 'delete-embeddings' })
    expect(await encode()).toEqual(plain)
    await pipeline.dispose()
  },
)

test('an embedding that does not fit, or whose word is in use, changes nothing', async () => {
  const pipeline = await load('tiny-sd15')
  const add = (shapes: Readonly<Record<string, readonly number[]>>) =>
    pipeline.adapters({ type: 'load-embedding', source: source('my-words.safetensors', float32File(shapes)) })
  await add({ 'my-word': [32] })
  await expect(add({ 'my-word': [32] })).rejects.toMatchObject({ code: 'token' })
  // diffusers refuses words of the vocabulary, and a word whose second token is in the vocabulary.
  await expect(add({ a: [32] })).rejects.toMatchObject({ code: 'token', details: { token: 'a' } })
  await expect(add({ emb_params: [2, 48] })).rejects.toMatchObject({
    code: 'not-an-embedding',
    details: { actual: 48, expected: 32 },
  })
  await expect(add({ clip_l: [2, 32], clip_g: [2, 48] })).rejects.toMatchObject({ code: 'not-an-embedding' })
  await expect(add({ a: [32], b: [32] })).rejects.toMatchObject({ code: 'not-an-embedding' })
  await add({ emb_params: [2, 32] })
  const warnings: string[] = []
  const onProgress = (event: PipelineProgress) => (event.type === 'warning' ? warnings.push(event.code) : 0)
  for (const [word, rows] of [
    ['One', 1],
    ['Two', 2],
    ['two', 2],
  ] as const)
    await pipeline.adapters(
      {
        type: 'load-embedding',
        source: source('x.safetensors', float32File({ [word]: [rows, 32] })),
        options: { token: `${word}-word` },
      },
      { onProgress },
    )
  expect(warnings).toEqual(['embedding-capitals'])
  await pipeline.dispose()
})
