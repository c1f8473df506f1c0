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

test('there is no inpainting: a mask is refused, instead of the whole image being changed', () => {
  for (const option of ['mask', 'maskImage', 'mask_image', 'paddingMaskCrop'])
    expect(() => checkOptionNames({ image: 'a.png', strength: 0.5, [option]: 'b.png' }, generateOptionNames)).toThrow(
      expect.objectContaining({
        code: 'unknown-option',
        message: expect.stringMatching(`"${option}"; allowed: .*image, strength`),
      }),
    )
})

test('known options are accepted, and an undefined option counts as absent', () => {
  checkOptionNames(
    { unet: 'a/b', safety_checker: null, variant: 'fp16', engine: {}, onProgress: () => {} },
    fromPretrainedOptionNames,
  )
  checkOptionNames({ numInferenceSteps: 30, onStep: () => {}, older: undefined }, generateOptionNames)
})
