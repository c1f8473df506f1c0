/**
 * Whole networks of odd widths (18, 30, 42; inpainting's 9 input channels), with random weights, on the GPU against the CPU: a kernel that
 * computes wrong values at such a width would change the image without an error.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import { randomTensor, relativeError } from '../onnx/testing-operators.js'
import type { ComponentGraph } from '../onnx/types.js'
import { BoundNetwork } from '../runtime/bound-network.js'
import type { Device } from '../runtime/device.js'
import { openDevice } from '../runtime/open-device.js'
import { testCheckpoint } from '../runtime/testing.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'
import { AutoencoderKL } from './autoencoders/autoencoder-kl.js'
import { graphFor, type TestSize } from './testing.js'
import type { GraphVariant, NetworkDefinition } from './types.js'
import { UNet2DConditionModel } from './unets/unet-2d-condition.js'

shareGpuDevices()

let cpu: Device
let gpu: Device
beforeAll(async () => {
  gpu = await openDevice({ kind: 'webgpu' })
  cpu = await openDevice({ kind: 'wasm' })
})
afterAll(async () => {
  await gpu.dispose()
  await cpu.dispose()
})

const widths = { block_out_channels: [18, 30, 42], layers_per_block: 1, norm_num_groups: 3 }

const unet: Config = {
  ...widths,
  in_channels: 9,
  out_channels: 4,
  sample_size: 8,
  attention_head_dim: 3,
  cross_attention_dim: 18,
  down_block_types: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
  up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
}

const vae: Config = {
  ...widths,
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D', 'DownEncoderBlock2D'],
  up_block_types: ['UpDecoderBlock2D', 'UpDecoderBlock2D', 'UpDecoderBlock2D'],
}

async function run(
  device: Device,
  definition: NetworkDefinition,
  config: Config,
  size: TestSize,
  variant?: GraphVariant,
): Promise<Record<string, Float32Array>> {
  const options = device.writeOptions({ dtype: 'float32', granularity: 'component' })
  const written: ComponentGraph = graphFor(definition, config, size, options, variant)
  const weights = written.stages.flatMap(({ program }) => program.weights).toSorted((a, b) => a.name.localeCompare(b.name))
  const { table } = testCheckpoint(Object.fromEntries(weights.map(({ name, dims }) => [name, dims])))
  const network = new BoundNetwork({ name: 'odd', device, table, graph: () => written, shapes: {} })
  const inputs = Object.fromEntries(written.inputs.map(({ name, dims }, index) => [name, randomTensor(dims, index)]))
  const results: Record<string, Float32Array> = {}
  for (const [name, tensor] of Object.entries(await network.run(inputs))) {
    results[name] = await tensor.read()
    tensor.dispose()
  }
  await network.dispose()
  return results
}

const networks: readonly (readonly [string, NetworkDefinition, Config, TestSize, GraphVariant?])[] = [
  ['a UNet', UNet2DConditionModel, unet, { batch: 2, height: 8, width: 12, sequenceLength: 7 }],
  ['a decoder', AutoencoderKL, vae, { batch: 1, height: 5, width: 6 }],
  ['an encoder', AutoencoderKL, vae, { batch: 1, height: 24, width: 20 }, { part: 'encoder' }],
]

for (const [label, ...network] of networks)
  test(`${label} of odd widths computes on the GPU what it computes on the CPU`, async () => {
    const expected = await run(cpu, ...network)
    const actual = await run(gpu, ...network)
    for (const [name, values] of Object.entries(expected)) {
      expect(values.some((value) => Math.abs(value) > 1e-3)).toBe(true)
      // The bound allows for a few hundred roundings of 2^-24 in sequence.
      expect(relativeError(actual[name], values), name).toBeLessThan(3e-5)
    }
  })
