/** Counts the operators in the graph of a step of SDXL's UNet. */
import { expect, test, vi } from 'vitest'
import networks from '../../../bench/kernels/networks.json' with { type: 'json' }
import { GraphBuilder } from '../../onnx/graph-builder.js'
import { UNet2DConditionModel } from './unet-2d-condition.js'

test('a step of SDXL’s UNet computes no keys and values of the prompt, no sum apart from the norm that follows in its block, and GEGLU in one kernel', () => {
  const nodes = vi.spyOn(GraphBuilder.prototype, 'node')
  // SDXL's structure, with 70 transformer blocks in 11 transformers, at a fifth of its widths.
  const model = UNet2DConditionModel.fromConfig(networks['sdxl-unet'].config)
  const shapes = model.shapes({ height: 16, width: 16 })
  const { stages } = model.write(shapes, { dtype: 'float32', weights: 'input', granularity: 'block', fusesGeglu: true })
  const count = (op: string) => nodes.mock.calls.filter(([spec]) => spec.op === op).length
  const once = stages.filter((stage) => stage.once === true)
  expect(once).toHaveLength(70)
  expect(once.every(({ program }) => program.weights.map(({ name }) => name).join() === 'to_k.weight,to_v.weight')).toBe(true)
  // Products of each block: queries, keys and values of the first attention, the queries of the second one, an output projection of each,
  // and two of the feed-forward.
  const others = 2 * 11 + 17 + 4
  expect(count('Gemm') - 2 * once.length).toBe(70 * 8 + others)
  // The second and third norm of each block are computed together with the sums before them. The sum before the first norm is in another
  // program.
  expect(count('SkipLayerNormalization')).toBe(2 * 70)
  expect(count('LayerNormalization')).toBe(70)
  expect([count('BiasSplitGelu'), count('Split'), count('Gelu')]).toEqual([70, 0, 0])
  vi.restoreAllMocks()
})
