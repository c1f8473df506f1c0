/** Which models and LoRAs have recommended settings, and how they are recognized. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createScheduler } from '../../schedulers/registry.js'
import { publishedSettings, settingsFor, settingsNote } from './model-settings.js'
import { toGenerateOptions } from './settings.js'

const guide = readFileSync('docs/few-steps.md', 'utf8')

test.each([
  'stabilityai/sdxl-turbo',
  ' stabilityai/SDXL-Turbo@main',
  'https://huggingface.co/stabilityai/sdxl-turbo',
  'https://hf.co/stabilityai/sdxl-turbo/tree/main',
])('a distilled model is known as %s', (model) =>
  expect(publishedSettings(model)?.settings).toEqual({ numInferenceSteps: 1, guidanceScale: 0 }),
)

test.each([
  '',
  './models/aquatint-emoji',
  'stabilityai/sdxl-turbo-2',
  'someone/stabilityai/sdxl-turbo',
  'constructor/prototype',
  'ByteDance/SDXL-Lightning',
  'juggernautXL_lightning.safetensors',
  'sdxl_lightning_3step_unet.safetensors',
  'not-sdxl_lightning_4step.safetensors',
  'sdxl_lightning_4step',
])('nothing is assumed of %j', (model) => expect(publishedSettings(model)).toBeUndefined())

/** The values are from the model cards of the repositories, which docs/few-steps.md names. */
const few = { guidanceScale: 0 }
test.each([
  [
    'sdxl_lightning_4step_unet.safetensors',
    { ...few, numInferenceSteps: 4, scheduler: 'EulerDiscreteScheduler', timestepSpacing: 'trailing' },
  ],
  [
    'https://huggingface.co/ByteDance/SDXL-Lightning/blob/main/sdxl_lightning_8step_lora.safetensors',
    { ...few, numInferenceSteps: 8, scheduler: 'EulerDiscreteScheduler', timestepSpacing: 'trailing' },
  ],
  [
    'sdxl_lightning_1step_unet_x0.safetensors',
    { ...few, numInferenceSteps: 1, scheduler: 'EulerDiscreteScheduler', timestepSpacing: 'trailing', prediction: 'sample' },
  ],
  ['Hyper-SDXL-1step-Unet.safetensors', { ...few, numInferenceSteps: 1, scheduler: 'LCMScheduler', timesteps: [800] }],
  ['Hyper-SD15-1step-lora.safetensors', { ...few, numInferenceSteps: 1, scheduler: 'TCDScheduler', eta: 1 }],
  [
    'Hyper-SDXL-2steps-lora.safetensors',
    { ...few, numInferenceSteps: 2, scheduler: 'DDIMScheduler', timestepSpacing: 'trailing' },
  ],
  [
    'Hyper-SD15-12steps-CFG-lora.safetensors',
    { guidanceScale: 5, numInferenceSteps: 12, scheduler: 'DDIMScheduler', timestepSpacing: 'trailing' },
  ],
  ['Hyper-SD3-8steps-CFG-lora.safetensors', { guidanceScale: 5, numInferenceSteps: 8 }],
  [
    'https://x.example/dmd2_sdxl_4step_lora_fp16.safetensors?download=true',
    { ...few, numInferenceSteps: 4, scheduler: 'LCMScheduler', timesteps: [999, 749, 499, 249] },
  ],
  ['latent-consistency/lcm-lora-sdv1-5', { guidanceScale: 1, numInferenceSteps: 4, scheduler: 'LCMScheduler' }],
  [
    'stabilityai/sdxl-turbo/blob/main/sd_xl_turbo_1.0_fp16.safetensors',
    {
      ...few,
      numInferenceSteps: 1,
      scheduler: 'EulerAncestralDiscreteScheduler',
      timestepSpacing: 'trailing',
      width: 512,
      height: 512,
    },
  ],
])('%s brings %j, which a scheduler takes', (source, settings) => {
  const found = publishedSettings(source)
  expect(found?.settings).toEqual(settings)
  const { scheduler } = toGenerateOptions({ model: source, prompt: '', ...found?.settings }, 'EulerDiscreteScheduler')
  const { className = 'EulerDiscreteScheduler', config = {} } = scheduler ?? {}
  expect(createScheduler(className, config).unexpectedKeys).toEqual([])
  // docs/few-steps.md names the repository.
  expect([found?.publishedAs, guide.includes(found?.publishedAs ?? 'nothing')]).toEqual([found?.publishedAs, true])
})

test('a LoRA counts before its model, unless its weight is 0; the note says what is set and by whose card', () => {
  const lora = { source: 'Hyper-SDXL-8steps-lora.safetensors', weight: 1 }
  const model = 'stabilityai/sdxl-turbo'
  expect(settingsFor(model, [{ source: 'dogs.safetensors', weight: 1 }, lora])?.name).toBe('Hyper-SD')
  expect(settingsFor(model, [{ ...lora, weight: 0 }])?.name).toBe('SDXL-Turbo')
  const found = settingsFor('a/b', [lora])
  expect(found && settingsNote(found)).toBe(
    'Empty fields use the settings that Hyper-SD was made for: 8 steps, no guidance, scheduler DDIM, trailing (published as ByteDance/Hyper-SD).',
  )
})
