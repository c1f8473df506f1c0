/**
 * LoRAs of every key style (fixtures/lora), and DoRA, LoHa and LoKr (fixtures/lora-forms), make the images that diffusers makes with them.
 * diffusers made the references without fusing; the fixtures' generator checks that fused LoRAs give the same images in diffusers.
 */

import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { loadPipeline, type LoadedPipeline } from './diffusion-pipeline.js'
import { caseOptions } from './testing-cases.js'
import { loraFile, readLoraCases } from './testing-lora.node.js'
import { diskRepository, fixtures } from './testing.node.js'
import { psnr, relativeError } from './testing.js'
import type { CapturedTensors } from './types.js'

const loaded = new Map<string, Promise<LoadedPipeline>>()

function load(fixture: string): Promise<LoadedPipeline> {
  const pipeline = loaded.get(fixture) ?? loadPipeline(diskRepository(join(fixtures, fixture, 'repo')), { device: 'wasm' })
  loaded.set(fixture, pipeline)
  return pipeline
}

afterAll(async () => {
  for (const pipeline of loaded.values()) await (await pipeline).dispose()
})

test.each(readLoraCases().map((one, k) => [k, one.item.loras.map(({ file }) => file).join(' and '), one] as const))(
  'case %i gives the tensors and the image of diffusers: %s',
  async (_k, _names, { item, reference }) => {
    const pipeline = await load(item.fixture)
    await pipeline.adapters({ type: 'delete' })
    for (const { file } of item.loras)
      await pipeline.adapters({ type: 'load', source: loraFile(file), options: { adapterName: file } })
    if (item.weights !== undefined)
      await pipeline.adapters({ type: 'set', names: item.loras.map(({ file }) => file), weights: item.weights })
    if (item.deleted !== undefined) await pipeline.adapters({ type: 'delete', names: item.deleted })
    const check = async () => {
      const { captured = {}, warnings } = await pipeline.generate(item.prompt, {
        ...caseOptions(item, pipeline.info.scheduler.className),
        capture: ['prompt_embeds', 'noise_pred', 'latents', 'image'],
      })
      expect(warnings).toEqual([])
      expectReference(captured, reference)
      return captured
    }
    const branches = await check()
    // As in diffusers, a LoRA with biases cannot be fused into a layer that has no bias.
    const isRefused = item.loras.some(({ file }) => file === 'bias')
    if (isRefused) await expect(pipeline.adapters({ type: 'fuse' })).rejects.toMatchObject({ code: 'lora-fuse' })
    const fused = await pipeline.adapters({ type: 'fuse', options: isRefused ? { components: ['text_encoder'] } : {} })
    expect(fused.filter(({ active }) => active)).toEqual(fused.filter(({ fusedInto }) => fusedInto.length > 0))
    // With fused weights, sums are rounded in another order. Equal values would mean that the branches still ran.
    expect(await check()).not.toEqual(branches)
    await pipeline.adapters({ type: 'unfuse' })
  },
)

/** The bounds of runs without LoRA, in diffusion-pipeline.parity.test.ts. */
function expectReference(captured: CapturedTensors, reference: CapturedTensors): void {
  for (const [name, expected] of Object.entries(reference))
    expect.soft(relativeError(captured[name], expected), name).toBeLessThan(1e-4)
  const [image, expected] = [captured['image'], reference['image']]
  if (image !== undefined && expected !== undefined) expect(psnr(image, expected)).toBeGreaterThan(90)
}
