/**
 * Images that do not fit as a whole into a memory budget, on a GPU: the autoencoder uses the planned tiles, memory stays within the plan,
 * and the image is the one that diffusers generates in tiles of that size.
 */

import { afterEach, expect, test } from 'vitest'
import { readSafetensorsHeader } from '../../checkpoint/safetensors.js'
import { TestSource } from '../../runtime/testing.js'
import { loadPipeline, planLoad, type LoadedPipeline } from '../diffusion-pipeline.js'
import { psnr, relativeError, servedRepository, vaeCaseOptions, type VaeCase } from '../testing.js'
import type { PipelineMemory, PlainTensor } from '../types.js'
import { shareGpuDevices } from '../../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

const repository = servedRepository('tiny-sdxl', import.meta.glob('../../../fixtures/tiny-sdxl/repo/**'))

let pipeline: LoadedPipeline | undefined
afterEach(async () => pipeline?.dispose())

async function fetchReference(k: number): Promise<Record<string, PlainTensor>> {
  const bytes = new Uint8Array(await (await fetch(`/fixtures/vae-tiling/${k}.safetensors`)).arrayBuffer())
  const { tensors } = await readSafetensorsHeader(new TestSource(bytes), `${k}.safetensors`)
  return Object.fromEntries(
    [...tensors].map(([name, { shape, begin, end }]) => [
      name,
      { dims: shape, data: new Float32Array(bytes.slice(begin, end).buffer) },
    ]),
  )
}

const items = (await (await fetch('/fixtures/vae-tiling/cases.json')).json()) as VaeCase[]
const cases = items.flatMap((item, k) => (item.vae.tile === undefined ? [] : [[k, item.pipeline, item] as const]))

test.each(cases)('case %i, %s: measured ≤ planned ≤ budget, in the tiles that were planned', async (k, _, item) => {
  const { input_image: input, ...reference } = await fetchReference(k)
  const { width, height, guidance_scale: guidanceScale } = item
  const asked = { device: 'webgpu', offload: 'model', width, height, guidanceScale, imageToImage: input !== undefined } as const
  const plan = async (maxMemory: number) => {
    const { devices } = await planLoad(repository, { ...asked, maxMemory })
    return devices.webgpu!
  }
  const parts = (of: Awaited<ReturnType<typeof plan>>) => of.components.filter(({ name }) => name === 'vae')
  const whole = await plan(1e9)
  expect(parts(whole).map(({ tile }) => tile)).toEqual(input === undefined ? [undefined] : [undefined, undefined])
  // With this budget, neither the encoder nor the decoder can process the whole image: the part that needs less memory lacks one byte.
  const least = Math.min(...parts(whole).map(({ weightBytes, activationBytes }) => weightBytes + activationBytes))
  const maxMemory = whole.heldBytes + least - 1
  const planned = await plan(maxMemory)
  expect(parts(planned).map(({ tile }) => tile)).toEqual(input === undefined ? [32] : [32, 32])
  expect(planned.peakBytes).toBeLessThanOrEqual(maxMemory)

  pipeline = await loadPipeline(repository, { device: 'webgpu', offload: 'model', maxMemory })
  let memory: PipelineMemory | undefined
  const { captured = {}, warnings } = await pipeline.generate(item.prompt, {
    ...vaeCaseOptions(item, input),
    onProgress: (progress) => {
      if (progress.type === 'memory') memory = progress.memory
    },
  })
  expect(warnings).toEqual([])
  expect(memory!.peak).toBeLessThanOrEqual(planned.peakBytes)
  for (const [name, expected] of Object.entries(reference))
    expect.soft(relativeError(captured[name], expected), name).toBeLessThan(1e-3)
  expect(psnr(captured['image']!, reference['image']!)).toBeGreaterThan(80)
})
