import { expect, test } from 'vitest'
import { checkOptionNames, fromPretrainedOptionNames, generateOptionNames } from './option-names.js'

test('an unknown option is rejected by name, with the list of options', () => {
  expect(() => checkOptionNames({ seed: 7, numInferenceStep: 30 }, generateOptionNames)).toThrow(
    expect.objectContaining({
      name: 'InputError',
      code: 'unknown-option',
      details: { option: 'numInferenceStep', allowed: generateOptionNames },
    }),
  )
  expect(() => checkOptionNames({ unett: null }, fromPretrainedOptionNames)).toThrow('"unett"')
})

test('known options are accepted, and an undefined option counts as absent', () => {
  checkOptionNames(
    { unet: 'a/b', safety_checker: null, variant: 'fp16', engine: {}, onProgress: () => {} },
    fromPretrainedOptionNames,
  )
  checkOptionNames({ numInferenceSteps: 30, onStep: () => {}, older: undefined }, generateOptionNames)
})
