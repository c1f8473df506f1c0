import { expect, test } from 'vitest'
import { bundledSettings } from './bundled-settings.js'

test('the bundled model has its own steps and guidance, unless they are set', () => {
  expect(bundledSettings({}, true)).toEqual({ numInferenceSteps: 10, guidanceScale: 2.5 })
  expect(bundledSettings({ numInferenceSteps: 4 }, true)).toEqual({ guidanceScale: 2.5 })
})

test('another model does not inherit the steps and guidance of the bundled model, but keeps what was set', () => {
  expect(bundledSettings({ numInferenceSteps: 10, guidanceScale: 2.5 }, false)).toEqual({
    numInferenceSteps: undefined,
    guidanceScale: undefined,
  })
  expect(bundledSettings({ numInferenceSteps: 30, guidanceScale: 5 }, false)).toEqual({})
})
