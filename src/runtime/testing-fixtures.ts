/** For the browser tests of this folder: the networks of the fixtures as components, their files fetched from the test server. Not part of the library. */

import { readSafetensorsHeader } from '../checkpoint/safetensors.js'
import type { Config, TensorEntry, WeightTable } from '../checkpoint/types.js'
import { AutoencoderKL } from '../models/autoencoders/autoencoder-kl.js'
import { CLIPTextModel } from '../models/text-encoders/clip-text-model.js'
import { matchWeights } from '../models/match-weights.js'
import { shapesFor } from '../models/testing.js'
import { UNet2DConditionModel } from '../models/unets/unet-2d-condition.js'
import type { ComponentGraph } from '../onnx/types.js'
import { BoundNetwork } from './bound-network.js'
import { numbers, TestSource } from './testing.js'
import type { HostTensor } from './types.js'
import { elementCount } from '../util/element-count.js'
import type { Device } from './device.js'

async function fetched(path: string): Promise<Response> {
  const response = await fetch(`/fixtures/${path}`)
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return response
}

async function readTable(folder: string, files: readonly string[]): Promise<WeightTable> {
  const table = new Map<string, TensorEntry>()
  for (const file of files) {
    const source = new TestSource(new Uint8Array(await (await fetched(`${folder}/${file}`)).arrayBuffer()))
    const { tensors } = await readSafetensorsHeader(source, file)
    for (const [name, header] of tensors) table.set(name, { ...header, source })
  }
  return table
}

const shards = [1, 2, 3].map((shard) => `diffusion_pytorch_model-0000${shard}-of-00003.safetensors`)

const networks = {
  text_encoder: { definition: CLIPTextModel, files: ['model.safetensors'] },
  unet: { definition: UNet2DConditionModel, files: shards },
  vae: { definition: AutoencoderKL, files: ['diffusion_pytorch_model.safetensors'] },
} as const

export type FixtureNetwork = keyof typeof networks

export interface FixtureComponent {
  readonly component: BoundNetwork
  readonly graph: ComponentGraph
  readonly table: WeightTable
  readonly inputs: Readonly<Record<string, HostTensor>>
}

/** A network of fixtures/tiny-sdxl for latents of `size`², with inputs to run it on. */
export async function fixtureComponent(
  device: Device,
  name: FixtureNetwork,
  size: number,
  granularity: 'component' | 'block',
): Promise<FixtureComponent> {
  const folder = `tiny-sdxl/repo/${name}`
  const { definition, files } = networks[name]
  const config = (await (await fetched(`${folder}/config.json`)).json()) as Config
  const table = await readTable(folder, files)
  const options = device.writeOptions({ dtype: 'float32', granularity })
  const model = definition.fromConfig(config)
  const written = model.write(
    shapesFor(model, { batch: definition.role === 'autoencoder' ? 1 : 2, height: size, width: size, sequenceLength: 77 }),
    options,
  )
  const [graph] = matchWeights(definition, [written], table).graphs
  if (graph === undefined) throw new Error('no graph')
  const inputs = Object.fromEntries(
    graph.inputs.map(({ name: input, type, dims }, index) => {
      const data = numbers(elementCount(dims), index)
      return [input, { type, dims, data }]
    }),
  )
  const shapes = Object.fromEntries(graph.inputs.map(({ name: input, dims }) => [input, dims]))
  const component = new BoundNetwork({ name, device, table, graph: () => graph, shapes })
  return { component, graph, table, inputs }
}
