/** Reads the text that AUTOMATIC1111's web UI writes into pictures. */

import { expect, test } from 'vitest'
import { readParameters } from './picture-parameters.js'
import { fromPngText, toPngText, type PromptSettings } from './settings.js'

test('a picture of the web UI restores the prompt, the negative prompt and the numbers', () => {
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

test('a picture without a prompt, with a negative one', () => {
  expect(readParameters('Negative prompt: dark\nSteps: 4, Seed: 2')).toMatchObject({ prompt: '', negativePrompt: 'dark' })
})

test('our own text reads as what was written, without the model', () => {
  const settings: PromptSettings = {
    model: 'owner/name',
    prompt: 'a cat',
    negativePrompt: 'a dog',
    numInferenceSteps: 9,
    scheduler: 'UniPCMultistepScheduler',
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
