import { expect, test } from 'vitest'
import type { PipelineInfo } from '../../index.js'
import { processorTime } from './processor-time.js'

const networks = (...parameters: readonly number[]): PipelineInfo['components'] =>
  Object.fromEntries(
    parameters.map((count, index) => [
      `component_${index}`,
      { className: 'X', repo: 'a/b', device: 'wasm', bytes: 4 * count, parameters: count },
    ]),
  )

test.each([
  ['the bundled model', [30e6, 40e6], 128, undefined],
  ['the bundled model, large', [30e6, 40e6], 512, 'minutes'],
  ['Stable Diffusion 1.5', [123e6, 860e6, 84e6], 512, 'hours'],
  ['a pipeline without networks', [], 64, undefined],
] as const)('how long %s takes on the CPU', (_name, parameters, edge, time) => {
  expect(processorTime(networks(...parameters), { width: edge, height: edge })).toBe(time)
})
