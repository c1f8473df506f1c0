/** Checks which operators read the results of group norms in the graphs of a UNet and an autoencoder. */
import { expect, test, vi } from 'vitest'
import networks from '../../bench/kernels/networks.json' with { type: 'json' }
import { GraphBuilder } from '../onnx/graph-builder.js'
import { AutoencoderKL } from './autoencoders/autoencoder-kl.js'
import { UNet2DConditionModel } from './unets/unet-2d-condition.js'

test('only the next operator reads the values of a group norm, so that a GPU need not compute them', () => {
  const nodes = vi.spyOn(GraphBuilder.prototype, 'node')
  const options = { dtype: 'float32', weights: 'input', granularity: 'component' } as const
  const unet = UNet2DConditionModel.fromConfig(networks['sd15-unet'].config)
  unet.write(unet.shapes({ height: 16, width: 16 }), options)
  const [down, up] = [
    ['DownEncoderBlock2D', 'DownEncoderBlock2D'],
    ['UpDecoderBlock2D', 'UpDecoderBlock2D'],
  ]
  const autoencoder = AutoencoderKL.fromConfig({
    block_out_channels: [32, 64],
    down_block_types: down,
    up_block_types: up,
    latent_channels: 4,
  })
  autoencoder.write(autoencoder.shapes({ height: 16, width: 16 }), options)

  const calls = nodes.mock.calls.map(([spec], index) => ({ spec, outputs: nodes.mock.results[index]?.value ?? [] }))
  vi.restoreAllMocks()
  // Two graphs can use the same name for different values, so values are compared as objects, not by name.
  const readers = new Map<unknown, typeof calls>()
  for (const call of calls) for (const input of call.spec.inputs) readers.set(input, [...(readers.get(input) ?? []), call])
  const only = (value: unknown) => {
    expect(readers.get(value)).toHaveLength(1)
    return readers.get(value)?.[0]
  }
  const norms = calls.filter(({ spec }) => spec.op === 'InstanceNormalization')
  expect(norms.length).toBeGreaterThan(46)
  for (const { outputs } of norms) {
    const product = only(only(outputs[0])?.outputs[0])
    const sum = only(product?.outputs[0])
    const next = only(sum?.outputs[0])
    expect([product?.spec.op, sum?.spec.op]).toEqual(['Mul', 'Add'])
    expect(['QuickGelu', 'Reshape', 'Transpose']).toContain(next?.spec.op)
    if (next?.spec.op === 'QuickGelu') expect(only(next.outputs[0])?.spec.op).toBe('Conv')
  }
})
