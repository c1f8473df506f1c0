/** The timesteps that each class sets are those of diffusers' pipelines, for sizes, steps, sigmas and schedulers (fixtures/pipeline-schedules.json). */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Config } from '../../checkpoint/types.js'
import { families } from '../families.js'
import { Run } from '../run.js'
import { fixtures } from '../testing.node.js'
import { familyScheduler } from './family-scheduler.js'
import { schedulerSource } from './schedule.js'

interface Case {
  readonly fixture: string
  readonly pipeline: string
  readonly from_image: boolean
  readonly tokens: number
  readonly sigmas?: readonly number[]
  readonly num_inference_steps?: number
  readonly scheduler: { readonly class: string; readonly config: Config } | null
  readonly timesteps: readonly number[]
}

const read = (path: string) => JSON.parse(readFileSync(`${fixtures}${path}`, 'utf8')) as unknown
const cases = read('pipeline-schedules.json') as readonly Case[]
const image = { width: 1, height: 1, data: new Uint8ClampedArray(4) }

test.each([...new Set(cases.map(({ fixture, pipeline }) => `${pipeline} ${fixture}`))])(
  '%s has the timesteps of diffusers',
  (name) => {
    for (const item of cases.filter(({ fixture, pipeline }) => `${pipeline} ${fixture}` === name)) {
      const family = families.find(({ className }) => className === item.pipeline.replace('Img2Img', ''))
      if (family === undefined) throw new TypeError(`There is no ${item.pipeline}.`)
      const config = read(`${item.fixture}/repo/scheduler/scheduler_config.json`) as Config & { readonly _class_name: string }
      const { sigmas, num_inference_steps: numInferenceSteps, tokens, scheduler } = item
      const options = {
        sigmas,
        numInferenceSteps,
        scheduler: scheduler === null ? undefined : { className: scheduler.class, config: scheduler.config },
        image: item.from_image ? image : undefined,
      }
      const usual = { ...family.defaults, ...(item.from_image ? family.imageToImage.defaults : {}) }
      const source = schedulerSource({ className: config._class_name, config })
      const run = new Run({})
      const { timesteps } = familyScheduler(family, source, options, { tokens, ...usual }, run)
      const leavesSigmas =
        ['FluxPipeline', 'Flux2KleinPipeline'].includes(item.pipeline) && scheduler?.config['use_flow_sigmas'] === true
      expect(run.warnings.some((text) => text.startsWith('sigmas are not used'))).toBe(leavesSigmas && sigmas !== undefined)
      expect(timesteps, JSON.stringify(item)).toHaveLength(item.timesteps.length)
      // Z-Image's sigmas come from torch.linspace, whose rounding depends on the width of the processor's vectors. The bound is two units in
      // the last place of float32 at 1000.
      const bound = item.pipeline.startsWith('ZImage') ? 2 ** -13 : 0
      for (const [index, expected] of item.timesteps.entries())
        expect(Math.abs((timesteps[index] ?? Number.NaN) - expected), JSON.stringify(item)).toBeLessThanOrEqual(bound)
    }
  },
)

test('a run that begins with an infinite image, which is clipped, gives a warning', () => {
  const family = families.find(({ className }) => className === 'StableDiffusionXLPipeline')!
  const noImageLeft = { rescale_betas_zero_snr: true, timestep_spacing: 'trailing', clip_sample: true }
  const warnings = (className: string, config: Config) => {
    const run = new Run({})
    familyScheduler(
      family,
      schedulerSource({ className, config }),
      { numInferenceSteps: 4 },
      { tokens: 0, ...family.defaults },
      run,
    )
    return run.warnings.filter((text) => text.includes('infinite image')).length
  }
  expect(warnings('DDIMScheduler', noImageLeft)).toBe(1)
  expect(warnings('DDPMScheduler', noImageLeft)).toBe(1)
  for (const other of [{ prediction_type: 'v_prediction' }, { timestep_spacing: 'leading' }, { clip_sample: false }])
    expect(warnings('DDIMScheduler', { ...noImageLeft, ...other })).toBe(0)
  // TCD does not clip, whatever the key says.
  expect(warnings('TCDScheduler', noImageLeft)).toBe(0)
})

test('the defaults of each class are those of diffusers', () => {
  const defaults = read('image-to-image/defaults.json') as Readonly<Record<string, Readonly<Record<string, Config | null>>>>
  expect(Object.keys(defaults).toSorted()).toEqual(families.map(({ className }) => className).toSorted())
  for (const { className, defaults: own, imageToImage } of families) {
    const { text, image: fromImage } = defaults[className]!
    const expected = (values: typeof own) => ({
      num_inference_steps: values.numInferenceSteps,
      guidance_scale: values.guidanceScale,
      ...(values.maxSequenceLength === undefined ? {} : { max_sequence_length: values.maxSequenceLength }),
    })
    // On both sides, a class without a default for this option counts as 256.
    expect({ max_sequence_length: 256, ...expected(own) }, className).toEqual({ max_sequence_length: 256, ...text })
    if (fromImage !== null)
      expect(
        { max_sequence_length: 256, ...expected({ ...own, ...imageToImage.defaults }), strength: imageToImage.strength },
        className,
      ).toEqual({
        max_sequence_length: 256,
        ...fromImage,
      })
  }
})
