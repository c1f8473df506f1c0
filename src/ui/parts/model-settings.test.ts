import { expect, test } from 'vitest'
import { modelSettings } from './model-settings.js'

test.each([
  'stabilityai/sdxl-turbo',
  ' stabilityai/SDXL-Turbo@main',
  'https://huggingface.co/stabilityai/sdxl-turbo',
  'https://hf.co/stabilityai/sdxl-turbo/tree/main',
])('a distilled model is known as %s', (model) =>
  expect(modelSettings(model)).toEqual({ numInferenceSteps: 1, guidanceScale: 0 }),
)

test.each(['', './models/aquatint-emoji', 'stabilityai/sdxl-turbo-2', 'someone/stabilityai/sdxl-turbo', 'constructor/prototype'])(
  'nothing is assumed of %j',
  (model) => expect(modelSettings(model)).toEqual({}),
)
