import { expect, test } from 'vitest'
import { InputError } from '../../errors.js'
import { checkInputs } from '../../pipelines/check-inputs.js'
import { createScheduler, schedulerClassNames } from '../../schedulers/registry.js'
import { choiceNames, schedulerChoices, schedulerNames } from './scheduler-settings.js'
import {
  fromPngText,
  fromQuery,
  numberRules,
  parseNumber,
  toGenerateOptions,
  toPngText,
  toQuery,
  type NumberName,
  type PromptSettings,
} from './settings.js'

const full: PromptSettings = {
  model: 'stabilityai/stable-diffusion-xl-base-1.0',
  revision: '462165984030d82259a11f4367a4eed129e94a7b',
  dtype: 'q8',
  previewDecoder: 'madebyollin/taesdxl',
  prompt: 'a cat & a dog, 猫 🐈 50%',
  negativePrompt: 'blurry',
  width: 1024,
  height: 768,
  numInferenceSteps: 30,
  guidanceScale: 5.5,
  trueCfgScale: 3,
  seed: 9007199254740991,
  scheduler: 'EulerDiscreteScheduler',
  timestepSpacing: 'trailing',
  sigmaSchedule: 'karras',
  algorithm: 'sde-dpmsolver++',
  prediction: 'v-zero-snr',
  eta: 0.5,
  timesteps: [999, 499],
  numImagesPerPrompt: 2,
  clipSkip: 1,
  promptWeighting: 'compel',
}

test('settings survive a link', () => {
  expect(fromQuery(new URLSearchParams(toQuery(full).toString()))).toEqual(full)
  expect(toQuery({ model: 'a/b', prompt: '' }).toString()).toBe('model=a%2Fb')
})

test('settings survive a PNG', () => {
  expect(fromPngText(toPngText(full))).toEqual(full)
})

test('other programs read the prompt, the negative prompt and the settings', () => {
  expect(toPngText(full)['parameters']).toBe(
    'a cat & a dog, 猫 🐈 50%\nNegative prompt: blurry\nSteps: 30, Sampler: Euler, Schedule type: Karras, CFG scale: 5.5, True CFG scale: 3, Seed: 9007199254740991, Size: 1024x768, Clip skip: 2, Eta: 0.5, Model: stabilityai/stable-diffusion-xl-base-1.0',
  )
})

test.each([
  ['steps=0', {}],
  ['steps=1e9', {}],
  ['steps=2.5', {}],
  ['width=100', {}],
  ['seed=-1', {}],
  ['guidance=NaN', {}],
  ['guidance=1e-3', { guidanceScale: 0.001 }],
  ['true-cfg=0.5', {}],
  ['scheduler=__proto__', {}],
  ['dtype=q3', {}],
  ['clip-skip=-1&prompt-weighting=toString', {}],
  ['clip-skip=0&prompt-weighting=a1111', { clipSkip: 0, promptWeighting: 'a1111' }],
  ['dtype=constructor', {}],
  ['timestep-spacing=toString&sigma-schedule=karras', { sigmaSchedule: 'karras' }],
  ['timesteps=1,x', {}],
  ['timesteps=999,0&eta=2', { timesteps: [999, 0] }],
  [`prompt=${'x'.repeat(20_001)}`, {}],
  ['height=64&prompt=hi', { height: 64, prompt: 'hi' }],
])('the link %.40s sets %j', (query, settings) => expect(fromQuery(new URLSearchParams(query))).toEqual(settings))

test.each([undefined, 'no json', '3', 'null', '[1]', '{"seed":{"a":1},"prompt":7,"model":null}'])(
  'a picture with %j sets nothing',
  (text) => {
    expect(fromPngText(text === undefined ? {} : { aquatint: text }) ?? {}).toEqual({})
  },
)

test('an invalid number gives a message', () => {
  expect(parseNumber('width', '12')).toEqual({ error: 'Width must be a multiple of 8, such as 8 or 16.' })
  expect(parseNumber('width', '8191.5')).toEqual({ error: 'Width must be a multiple of 8, such as 8184 or 8192.' })
  expect(parseNumber('seed', '-4')).toEqual({ error: 'Seed must be a number from 0 to 2⁵³ − 1.' })
  expect(parseNumber('numInferenceSteps', '1.5')).toEqual({ error: 'Steps must be a whole number.' })
  expect(parseNumber('guidanceScale', '  ')).toEqual({ value: undefined })
})

/** Whether `generate` accepts a value of an option. */
const accepts = (name: NumberName, value: number) => {
  const { width = 64, height = 64, ...options } = { [name]: value } as Partial<Record<NumberName, number>>
  try {
    checkInputs(options, { width, height }, 8)
    return true
  } catch (error) {
    if (error instanceof InputError) return false
    throw error
  }
}

test('the limits of the fields are those of the library', () => {
  for (const name of ['width', 'height', 'numInferenceSteps', 'guidanceScale', 'seed', 'numImagesPerPrompt'] as const) {
    const { min, max, step = 1 }: { min: number; max: number; step?: number } = numberRules[name]
    expect([name, accepts(name, min), accepts(name, max), accepts(name, max + step)]).toEqual([name, true, true, false])
    // The library accepts a negative seed. Other programs use it for "random", so the field does not accept it.
    if (name !== 'seed') expect(accepts(name, min - step)).toBe(false)
  }
})

test('settings become options of generate', () => {
  expect(toGenerateOptions(full, 'PNDMScheduler')).toEqual({
    negativePrompt: 'blurry',
    width: 1024,
    height: 768,
    numInferenceSteps: 30,
    guidanceScale: 5.5,
    trueCfgScale: 3,
    seed: 9007199254740991,
    eta: 0.5,
    timesteps: [999, 499],
    numImagesPerPrompt: 2,
    clipSkip: 1,
    promptWeighting: 'compel',
    scheduler: {
      className: 'EulerDiscreteScheduler',
      config: {
        timestep_spacing: 'trailing',
        use_karras_sigmas: true,
        use_exponential_sigmas: false,
        use_beta_sigmas: false,
        algorithm_type: 'sde-dpmsolver++',
        prediction_type: 'v_prediction',
        rescale_betas_zero_snr: true,
      },
    },
  })
})

test('a value of the config alone changes the scheduler of the model, and no value leaves it', () => {
  const settings = { model: 'a/b', prompt: '' }
  expect(toGenerateOptions({ ...settings, timestepSpacing: 'trailing' }, 'PNDMScheduler').scheduler).toEqual({
    className: 'PNDMScheduler',
    config: { timestep_spacing: 'trailing' },
  })
  expect(toGenerateOptions(settings, 'PNDMScheduler')).toEqual({})
})

test('the form offers every scheduler, and only values that a scheduler takes', () => {
  expect(Object.keys(schedulerNames).sort()).toEqual([...schedulerClassNames].sort())
  for (const name of choiceNames)
    for (const value of Object.keys(schedulerChoices[name].values)) {
      const settings = { prompt: '', model: '', [name]: value }
      const { scheduler } = toGenerateOptions(settings, 'DPMSolverMultistepScheduler')
      const created = createScheduler('DPMSolverMultistepScheduler', scheduler?.config ?? {})
      expect([created.unexpectedKeys, created.scheduler.config]).toMatchObject([[], scheduler?.config ?? { no: 'scheduler' }])
    }
})
