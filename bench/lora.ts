/**
 * `npm run bench:lora [-- --rounds N]`: what a LoRA of rank 32 adds to a run of a UNet. Compares the UNet without a LoRA, with branches for a
 * LoRA beside all Linear layers, with branches that also have DoRA's magnitudes, and with the LoRA fused into the weights. The four networks
 * run alternately in one process on `wasm`. The figures are milliseconds of CPU time, the least of the rounds, so that other processes disturb
 * them little. Also counts the operators of the graphs. `npm run bench:kernels -- --lora` counts the dispatches on a GPU.
 */

import { parseArgs } from 'node:util'
import type { TensorEntry } from '../src/checkpoint/types.js'
import { UNet2DConditionModel } from '../src/models/unets/unet-2d-condition.js'
import { adaptableLayers, bindNetwork, type Network } from '../src/pipelines/bind-network.js'
import { NetworkAdapters, type LayerFactors } from '../src/pipelines/network-adapters.js'
import { float32Tensor } from '../src/pipelines/tensors.js'
import type { BoundNetwork } from '../src/runtime/bound-network.js'
import { openDevice } from '../src/runtime/open-device.js'
import { elementCount } from '../src/util/element-count.js'

const rank = 32

/**
 * A UNet at 128 × 128 pixels with the widths of the first two levels of Stable Diffusion 1's UNet. That UNet's inner levels have wider
 * layers, for which a LoRA of rank 32 adds less.
 */
const config = {
  sample_size: 16,
  block_out_channels: [320, 640],
  layers_per_block: 1,
  cross_attention_dim: 768,
  attention_head_dim: 8,
  down_block_types: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
}

/** A tensor of small values. */
function tensor(name: string, shape: readonly number[]): TensorEntry {
  const values = Float32Array.from({ length: elementCount(shape) }, (_, index) => 0.02 * Math.sin(index))
  const bytes = new Uint8Array(values.buffer)
  const source = {
    byteLength: bytes.byteLength,
    read: ({ begin, end }: { begin: number; end: number }) => Promise.resolve(bytes.slice(begin, end)),
  }
  return { name, dtype: 'F32', shape, source, begin: 0, end: bytes.byteLength }
}

const model = UNet2DConditionModel.fromConfig(config)
const shapes = model.shapes({ height: 16, width: 16, guided: true })
const plain = model.write(shapes, { dtype: 'float32', weights: 'input', granularity: 'component' })

/** The networks that are compared. */
const kinds = ['none', 'lora', 'dora', 'fused'] as const

/** The network without branches, with a LoRA, with a LoRA and DoRA's magnitudes, or with a LoRA in its weights. */
function network(kind: (typeof kinds)[number]): Network {
  const weights = plain.stages.flatMap(({ program }) => program.weights)
  const adapters = new NetworkAdapters(new Map(weights.map(({ name, dims }) => [name, tensor(name, dims)])), model)
  if (kind !== 'none') {
    const linear = [...adaptableLayers(model)].filter(([, { length }]) => length === 2)
    const layers = new Map(
      linear.map(([layer, [out = 0, columns = 0]]): [string, LayerFactors] => [
        layer,
        {
          form: { kind: 'low-rank', rank, magnitude: kind === 'dora' ? 'stored' : undefined },
          tensors: new Map([
            ['lora_A', tensor('a', [rank, columns])],
            ['lora_B', tensor('b', [out, rank])],
            ...(kind === 'dora' ? [['lora_magnitude_vector', tensor('m', [out])] as const] : []),
          ]),
          scaling: 1,
        },
      ]),
    )
    const active = [{ adapter: { id: 0, layers }, weight: 1 }]
    adapters.activate(kind === 'fused' ? [] : active, kind === 'fused' ? active : [])
  }
  return { name: 'unet', model, table: adapters.table, adapters, repo: 'made up' }
}

/** The number of nodes of an encoded ModelProto: field 1 of its graph, which is field 7. */
function countNodes(bytes: Uint8Array): number {
  const graph = fields(bytes).find(({ field }) => field === 7)
  return graph === undefined ? 0 : fields(graph.bytes).filter(({ field }) => field === 1).length
}

function fields(bytes: Uint8Array): { readonly field: number; readonly bytes: Uint8Array }[] {
  const found: { field: number; bytes: Uint8Array }[] = []
  let at = 0
  const varint = () => {
    let [value, shift] = [0, 1]
    for (;;) {
      const byte = bytes[at++] ?? 0
      value += (byte & 127) * shift
      shift *= 128
      if (byte < 128) return value
    }
  }
  while (at < bytes.byteLength) {
    const key = varint()
    const [field, wire] = [Math.floor(key / 8), key % 8]
    if (wire === 0) varint()
    else if (wire === 2) {
      const length = varint()
      found.push({ field, bytes: bytes.subarray(at, at + length) })
      at += length
    } else at += wire === 5 ? 4 : 8
  }
  return found
}

/** A row of the table: the quantity, its value without a LoRA, and for each other network the value and its ratio to the first. */
function row(what: string, base: number, values: readonly number[]): string {
  const cells = values.flatMap((value) => [value.toFixed(0), (value / base).toFixed(2)])
  return `| ${[what, base.toFixed(0), ...cells].join(' | ')} |`
}

/** Milliseconds of CPU time that some work takes. */
async function cpuTime(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { rounds: { type: 'string', default: '3' } } })
  const device = await openDevice({ kind: 'wasm' })
  const all = kinds.map((kind) => {
    const own = network(kind)
    const { branches } = own.adapters ?? {}
    const options = { dtype: 'float32', weights: 'input', granularity: 'component', adapters: branches } as const
    const nodes = model.write(shapes, options).stages.reduce((sum, { program }) => sum + countNodes(program.model), 0)
    const bound = bindNetwork(own, { device, dtype: 'float32', granularity: 'component', variantOf: () => ({}) })
    return { bound, nodes, times: [] as number[] }
  })
  const inputs = Object.fromEntries(
    plain.inputs.map(({ name, dims }) => [
      name,
      float32Tensor(
        dims,
        Float32Array.from({ length: elementCount(dims) }, (_, index) => Math.cos(index)),
      ),
    ]),
  )
  const runOnce = (bound: BoundNetwork) =>
    cpuTime(async () => {
      for (const output of Object.values(await bound.run(inputs))) output.dispose()
    })
  // The first round is not counted: it loads the weights. A load is measured at the end, when all code has been compiled.
  for (let round = 0; round <= Number(values.rounds); round++)
    for (const { bound, times } of all) {
      const time = await runOnce(bound)
      if (round > 0) times.push(time)
    }
  const figures: { readonly nodes: number; readonly run: number; readonly first: number }[] = []
  for (const { bound, nodes, times } of all) {
    await bound.unload()
    figures.push({ nodes, run: Math.min(...times), first: await runOnce(bound) })
  }
  const [none, ...others] = figures
  if (none === undefined) return
  const rows = {
    'ms of CPU time a run on wasm': 'run',
    'of a run that loads the weights first': 'first',
    'operators of the graph': 'nodes',
  } as const
  console.log('| | without | LoRA | ratio | DoRA | ratio | fused | ratio |')
  console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |')
  for (const [what, figure] of Object.entries(rows))
    console.log(
      row(
        what,
        none[figure],
        others.map((own) => own[figure]),
      ),
    )
  for (const { bound } of all) await bound.dispose()
  await device.dispose()
}
