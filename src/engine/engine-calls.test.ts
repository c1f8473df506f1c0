/** Calls that need no loaded pipeline, over a real message channel: plans, and the cache. */
import { expect, test } from 'vitest'
import type { PipelinePlan } from '../pipelines/loading/plan-pipeline.js'
import { DiffusionPipeline } from './client/diffusion-pipeline.js'
import { ModelCache } from './client/model-cache.js'
import type { PipelinePlanner } from './engine.js'
import { engineWith, model, pipeline, untilAborted } from './testing.js'

const planned: PipelinePlan = {
  className: 'StableDiffusionPipeline',
  label: 'Stable Diffusion',
  repo: 'me/model',
  revision: 'main',
  components: {},
  downloadBytes: 5,
  keptBytes: 5,
  diskBytes: 5,
  width: 8,
  height: 8,
  places: { unet: 'wasm' },
  devices: { wasm: { residence: 'resident', maxMemory: 9, peakBytes: 4, components: [], heldBytes: 0 } },
  warnings: [],
  notes: [],
}

test('a plan takes load options and the size, rejects other options, and can be cancelled', async () => {
  const asked: unknown[] = []
  const plan: PipelinePlanner = async (repo, { signal, ...options }) => {
    asked.push([repo, options])
    return options.revision === 'slow' ? untilAborted(signal) : planned
  }
  const { engine } = engineWith(() => Promise.reject(new TypeError('Nothing is loaded here')), plan)
  expect(await DiffusionPipeline.plan('me/model', { engine, maxMemory: '2GB', width: 64, unet: null })).toEqual(planned)
  expect(asked).toEqual([['me/model', { maxMemory: '2GB', width: 64, components: { unet: null } }]])
  await expect(DiffusionPipeline.plan('me/model', { engine, steps: 3 } as object)).rejects.toMatchObject({
    code: 'unknown-option',
  })
  const controller = new AbortController()
  const slow = DiffusionPipeline.plan('me/model', { engine, revision: 'slow', signal: controller.signal })
  await expect.poll(() => asked).toHaveLength(2)
  controller.abort(new TypeError('enough'))
  await expect(slow).rejects.toThrow('enough')
})

test('the page reads the cache, and verifying can be cancelled', async () => {
  const { engine } = engineWith(() => Promise.resolve(pipeline()))
  const models = new ModelCache({ engine })
  expect(await models.list()).toEqual([model])
  expect(await models.delete(model)).toBe(7)
  await expect(models.verify(model, { signal: AbortSignal.timeout(1) })).rejects.toMatchObject({ name: 'TimeoutError' })
})
