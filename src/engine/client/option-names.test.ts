import { expect, test } from 'vitest'
import { checkOptionNames, fromPretrainedOptionNames, generateOptionNames } from './option-names.js'

test('an option that does not exist is refused by name, with those that do', () => {
  expect(() => checkOptionNames({ seed: 7, numInferenceStep: 30 }, generateOptionNames)).toThrow(
    expect.objectContaining({
      name: 'InputError',
      code: 'unknown-option',
      details: { option: 'numInferenceStep', allowed: generateOptionNames },
    }),
  )
  expect(() => checkOptionNames({ unett: null }, fromPretrainedOptionNames)).toThrow('"unett"')
})

test('options that exist are taken, and one that is undefined says nothing', () => {
  checkOptionNames(
    { unet: 'a/b', safety_checker: null, variant: 'fp16', engine: {}, onProgress: () => {} },
    fromPretrainedOptionNames,
  )
  checkOptionNames({ numInferenceSteps: 30, onStep: () => {}, older: undefined }, generateOptionNames)
})
