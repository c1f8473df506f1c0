/**
 * A new pipeline class needs one network definition and one family definition, and no line anywhere else. A made-up class with a denoiser of
 * three Linear layers (testing-made-up.node.ts) is planned, loaded and run, and its prediction is compared with the same sums in float64.
 * cli/inspect/made-up-family.test.ts takes it through `aquatint inspect`.
 */
import { expect, test } from 'vitest'
import { loadPipeline, planLoad } from './diffusion-pipeline.js'
import { families } from './families.js'
import { at, madeUp, madeUpDenoiser, madeUpRepository } from './testing-made-up.node.js'

test('a made-up class is planned, loaded and run with its definition alone', async () => {
  await expect(loadPipeline(madeUpRepository(), { device: 'wasm' })).rejects.toMatchObject({ code: 'unsupported-class' })

  const known = [...families, madeUp]
  const plan = await planLoad(madeUpRepository(), { device: 'wasm', guidanceScale: 7 }, known)
  expect(plan).toMatchObject({ className: 'MadeUpPipeline', label: 'Made up', width: 32, height: 32 })
  expect(plan.components['transformer']).toMatchObject({ className: madeUpDenoiser, parameters: 4 * (32 + 4 + 1 + 3) })

  const pipeline = await loadPipeline(madeUpRepository(), { device: 'wasm' }, known)
  expect(pipeline.info).toMatchObject({ label: 'Made up', defaults: { width: 32, height: 32, numInferenceSteps: 3 } })
  const steps: number[] = []
  const { images, captured } = await pipeline.generate('a red square', {
    seed: 1,
    capture: ['prompt_embeds', 'initial_latents', 'noise_pred', 'timesteps'],
    scheduler: { className: 'DDIMScheduler', config: {} },
    onStep: ({ step }) => steps.push(step),
  })
  expect(steps).toEqual([0, 1, 2])
  expect(images.map(({ width, height }) => [width, height])).toEqual([[32, 32]])

  // The guidance scale is 4, but this class has no guidance, so there is no second half.
  const { noise_pred_0: predicted, initial_latents: latents, prompt_embeds: embeds, timesteps } = captured!
  expect(predicted!.dims).toEqual([1, 4, 8, 8])
  const expected = predicted!.data.map((_, i) => {
    const [channel, pixel] = [Math.floor(i / 64), i % 64]
    let sum = at('pixel.bias', channel) + at('context.bias', channel) + at('time.bias', channel)
    sum += at('time.weight', channel) * (timesteps!.data[0]! / 1000)
    for (let k = 0; k < 4; k++) sum += at('pixel.weight', 4 * channel + k) * latents!.data[64 * k + pixel]!
    for (let k = 0; k < 32; k++) sum += at('context.weight', 32 * channel + k) * embeds!.data[k]!
    return sum
  })
  for (const [i, value] of expected.entries()) expect(predicted!.data[i]).toBeCloseTo(value, 4)
  await pipeline.dispose()
})
