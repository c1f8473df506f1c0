/** Reads the text that AUTOMATIC1111's web UI writes into pictures. */

import { expect, test } from 'vitest'
import { readParameters } from './picture-parameters.js'
import { fromPngText, toPngText, type PromptSettings } from './settings.js'

test('a picture of AUTOMATIC1111’s web UI restores the prompt, the negative prompt and the numbers', () => {
  const parameters = [
    'a (red:1.3) fox, masterpiece <lora:dogs_v2:0.8>, <lora:cats:1:0.5>',
    'on a hill',
    'Negative prompt: blurry, low quality,',
    'people',
    'Steps: 25, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 4021, Size: 768x512, Model hash: abc, Model: dream_8, Clip skip: 2, Denoising strength: 0.4, Lora hashes: "a: 1, Steps: 9", Version: v1.10.1',
  ].join('\n')
  expect(fromPngText({ parameters })).toEqual({
    promptWeighting: 'a1111',
    loras: [
      { source: 'dogs_v2.safetensors', weight: 0.8 },
      { source: 'cats.safetensors', weight: 1 },
    ],
    clipSkip: 1,
    prompt: 'a (red:1.3) fox, masterpiece , \non a hill',
    negativePrompt: 'blurry, low quality,\npeople',
    numInferenceSteps: 25,
    scheduler: 'DPMSolverMultistepScheduler',
    sigmaSchedule: 'karras',
    guidanceScale: 6.5,
    seed: 4021,
    width: 768,
    height: 512,
    strength: 0.4,
  })
})

test('no negative prompt, an unknown sampler, and a size that no model takes are left out', () => {
  const parameters = 'a fox\nSteps: 20, Sampler: Restart, CFG scale: 7, Seed: 1, Size: 500x513, Clip skip: 1'
  expect(fromPngText({ parameters })).toEqual({
    promptWeighting: 'a1111',
    prompt: 'a fox',
    numInferenceSteps: 20,
    guidanceScale: 7,
    seed: 1,
  })
})

test.each([
  ['Sampler: DPM++ 2M, Schedule type: Karras', { scheduler: 'DPMSolverMultistepScheduler', sigmaSchedule: 'karras' }],
  ['Sampler: DPM++ 2M, Schedule type: Automatic', { scheduler: 'DPMSolverMultistepScheduler', sigmaSchedule: 'karras' }],
  ['Sampler: DPM++ 2M', { scheduler: 'DPMSolverMultistepScheduler' }],
  [
    'Sampler: DPM++ 2M SDE Karras',
    { scheduler: 'DPMSolverMultistepScheduler', algorithm: 'sde-dpmsolver++', sigmaSchedule: 'karras' },
  ],
  [
    'Sampler: DPM++ 2M SDE, Schedule type: Exponential',
    {
      scheduler: 'DPMSolverMultistepScheduler',
      algorithm: 'sde-dpmsolver++',
      sigmaSchedule: 'exponential',
      timestepSpacing: 'linspace',
    },
  ],
  ['Sampler: DPM++ SDE Karras', { scheduler: 'DPMSolverSinglestepScheduler', sigmaSchedule: 'karras' }],
  ['Sampler: DPM2 a, Schedule type: Automatic', { scheduler: 'KDPM2AncestralDiscreteScheduler', sigmaSchedule: 'karras' }],
  ['Sampler: LMS Karras', { scheduler: 'LMSDiscreteScheduler', sigmaSchedule: 'karras' }],
  ['Sampler: Euler, Schedule type: SGM Uniform', { scheduler: 'EulerDiscreteScheduler', timestepSpacing: 'trailing' }],
  ['Sampler: Euler a, Schedule type: Align Your Steps', { scheduler: 'EulerAncestralDiscreteScheduler' }],
  ['Sampler: Restart, Schedule type: Karras', {}],
  ['Sampler: toString', {}],
])('the text %s gives the settings %j', (facts, expected) =>
  expect(fromPngText({ parameters: `a fox\nSteps: 20, ${facts}, Seed: 1` })).toEqual({
    ...expected,
    promptWeighting: 'a1111',
    prompt: 'a fox',
    numInferenceSteps: 20,
    seed: 1,
  }),
)

test('a picture may have a negative prompt and no prompt', () => {
  expect(readParameters('Negative prompt: dark\nSteps: 4, Seed: 2')).toMatchObject({ prompt: '', negativePrompt: 'dark' })
})

test('Aquatint reads its own text back as it was written, without the model', () => {
  const settings: PromptSettings = {
    model: 'owner/name',
    prompt: 'a cat',
    negativePrompt: 'a dog',
    numInferenceSteps: 9,
    scheduler: 'UniPCMultistepScheduler',
    sigmaSchedule: 'beta',
    timestepSpacing: 'linspace',
    eta: 0.5,
    seed: 5,
    clipSkip: 1,
    promptWeighting: 'a1111',
    loras: [{ source: 'dogs.safetensors', weight: 0.5 }],
  }
  const { parameters = '' } = toPngText(settings)
  const { model: _, ...rest } = settings
  expect(fromPngText({ parameters })).toEqual(rest)
})

test.each([{}, { parameters: '' }, { parameters: 'a text that is something else' }, { parameters: 'Steps: many' }])(
  '%j holds no settings',
  (text) => expect(fromPngText(text)).toBeUndefined(),
)
