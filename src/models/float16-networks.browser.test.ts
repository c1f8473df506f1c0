/**
 * Whole networks in float16 on the GPU, compared with float32 (fixtures/float16-networks). In some, the values of the residual stream
 * exceed 65,504, the largest number of float16. Others have quantized weights. Each error is at most 1.5 times the error of PyTorch in
 * float16 with the same weights. Where pure float16 overflows, PyTorch computed products in float16 and sums in float32. With quantized
 * weights, both errors are measured against float32 results with the dequantized weights.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import cases from '../../fixtures/float16-networks/cases.json' with { type: 'json' }
import massiveCases from '../../fixtures/float16-networks/massive.json' with { type: 'json' }
import { readSafetensorsHeader } from '../checkpoint/safetensors.js'
import {
  dequantizeRows,
  isQuantizable,
  optionsFor,
  quantizedLayout,
  quantizeRows,
} from '../checkpoint/transforms/quantize-rows.js'
import { quantize } from '../checkpoint/transforms/quantize.js'
import { transformTable } from '../checkpoint/transforms/transform-table.js'
import type { Config, TensorEntry, WeightTable } from '../checkpoint/types.js'
import { sha256Hex } from '../hub/cache/file-hasher.js'
import { relativeError } from '../onnx/testing-operators.js'
import { BoundNetwork } from '../runtime/bound-network.js'
import type { Device } from '../runtime/device.js'
import { openDevice } from '../runtime/open-device.js'
import { TestSource } from '../runtime/testing.js'
import type { HostTensor } from '../runtime/types.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'
import { bfloat16ToFloat32, float16ToFloat32 } from '../util/half.js'
import { matchWeights, quantizedWeights } from './match-weights.js'
import { networkDefinition } from './registry.js'
import type { GraphVariant } from './types.js'

shareGpuDevices()

/** A case of cases.json or massive.json: the members that both files have. */
type Case = Pick<(typeof cases)[number], 'name' | 'className' | 'folder' | 'files' | 'edits'>

/** A tensor whose values a test may change: the entry reads the changed values. */
interface Tensor {
  readonly entry: TensorEntry
  readonly values: Float32Array<ArrayBuffer>
}

let cpu: Device
let gpu: Device
let recorded: ReadonlyMap<string, Tensor>
beforeAll(async () => {
  gpu = await openDevice({ kind: 'webgpu' })
  cpu = await openDevice({ kind: 'wasm' })
  recorded = await tensors('float16-networks/tensors.safetensors')
})
afterAll(async () => {
  await gpu.dispose()
  await cpu.dispose()
})
beforeEach(({ skip }) => {
  if (!gpu.info.shaderF16) skip('This GPU has no shader-f16.')
})

async function fetched(path: string): Promise<ArrayBuffer> {
  const response = await fetch(`/fixtures/${path}`)
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return response.arrayBuffer()
}

function floats(dtype: string, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const { buffer } = bytes.slice()
  if (dtype === 'I64') return Float32Array.from(new BigInt64Array(buffer), Number)
  if (dtype === 'F32') return new Float32Array(buffer)
  return dtype === 'F16' ? float16ToFloat32(new Uint16Array(buffer)) : bfloat16ToFloat32(new Uint16Array(buffer))
}

/** An entry of a weight table: a tensor of these float32 values. */
function entryOf(name: string, shape: readonly number[], values: Float32Array<ArrayBuffer>): TensorEntry {
  return { name, dtype: 'F32', shape, begin: 0, end: values.byteLength, source: new TestSource(new Uint8Array(values.buffer)) }
}

/** The tensors of a file, in float32. */
async function tensors(path: string): Promise<Map<string, Tensor>> {
  const bytes = new Uint8Array(await fetched(path))
  const { tensors: headers } = await readSafetensorsHeader(new TestSource(bytes), path)
  return new Map(
    [...headers].map(([name, { dtype, shape, begin, end }]) => {
      const values = floats(dtype, bytes.subarray(begin, end))
      return [name, { entry: entryOf(name, shape, values), values }]
    }),
  )
}

/** The weights of a case, with its edits. */
async function weights({ folder, files, edits }: Case): Promise<ReadonlyMap<string, Tensor>> {
  const read = await Promise.all(files.map((file) => tensors(`${folder}/${file}`)))
  const all = new Map<string, Tensor>()
  for (const file of read) for (const [name, tensor] of file) all.set(name, tensor)
  for (const { tensor, rows, factor } of edits) {
    const { entry, values } = all.get(tensor)!
    const [count = 1] = entry.shape
    const length = values.length / count
    for (const row of rows.length === 0 ? Array(count).keys() : rows)
      for (let i = row * length; i < (row + 1) * length; i++) values[i]! *= factor
  }
  return all
}

/** The recorded inputs or outputs of a case's graph, by name. */
function recordedOf({ name, inputs }: (typeof cases)[number], kind: 'inputs' | 'outputs'): Record<string, HostTensor> {
  const prefix = kind === 'inputs' ? `${inputs}.inputs.` : `${name}.outputs.`
  const own = [...recorded].filter(([key]) => key.startsWith(prefix))
  return Object.fromEntries(
    own.map(([key, { entry, values }]) => [key.slice(prefix.length), { type: 'float32', dims: entry.shape, data: values }]),
  )
}

type Inputs = Readonly<Record<string, HostTensor>>
type Results = Readonly<Record<string, Float32Array>>

/** The hidden state that Z-Image reads from a model with three layers. */
const qwen3States: GraphVariant = { hiddenStates: [{ index: 2, finalLayerNorm: false }], attentionMask: true }

const variantFor = (inputs: Inputs) => ('attention_mask' in inputs && 'inputs_embeds' in inputs ? qwen3States : undefined)

/** The results of a network. */
async function run(
  device: Device,
  item: Case,
  table: WeightTable,
  dtype: 'float32' | 'float16',
  inputs: Inputs,
): Promise<Results> {
  const definition = networkDefinition(item.className)
  const config = await configOf(item)
  const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { dims }]) => [name, dims]))
  const options = { ...device.writeOptions({ dtype, granularity: 'component' }), quantized: quantizedWeights(definition, table) }
  const graph = matchWeights(definition, [definition.fromConfig(config).write(shapes, options, variantFor(inputs))], table)
    .graphs[0]!
  const network = new BoundNetwork({ name: item.name, device, table, graph: () => graph, shapes })
  const results: Record<string, Float32Array> = {}
  for (const [name, tensor] of Object.entries(await network.run(inputs))) {
    results[name] = await tensor.read()
    tensor.dispose()
  }
  await network.dispose()
  return results
}

async function configOf({ folder }: Case): Promise<Config> {
  return JSON.parse(new TextDecoder().decode(await fetched(`${folder}/config.json`))) as Config
}

const hostTensor = ({ entry, values }: Tensor): HostTensor => ({ type: 'float32', dims: entry.shape, data: values })

/** A tensor with its batch repeated. */
function repeated({ entry, values }: Tensor, count: number): Tensor {
  const [batch = 0, ...rest] = entry.shape
  const all = new Float32Array(values.length * count)
  for (let k = 0; k < count; k++) all.set(values, k * values.length)
  return { entry: entryOf(entry.name, [batch * count, ...rest], all), values: all }
}

/**
 * The graph's inputs for a call that a network's fixture recorded. The batch holds the call `item.inputs` times, each time with smaller
 * latents, as in PyTorch's run.
 */
async function callInputs(item: (typeof massiveCases)[number], all: ReadonlyMap<string, Tensor>): Promise<Inputs> {
  const model = networkDefinition(item.className).fromConfig(await configOf(item))
  const recordings = await tensors(`${item.fixture}/components.safetensors`)
  const given = (name: string) => {
    const recording = recordings.get(`${item.prefix}.${name}`)
    return recording && repeated(recording, item.inputs)
  }
  if (model.role === 'text-encoder') {
    const ids = given('input_ids')!
    const table = all.get(model.tokenEmbedding.tensors.find((name) => all.has(name))!)!
    const { width } = model.tokenEmbedding
    const rows = new Float32Array(ids.values.length * width)
    for (const [row, id] of ids.values.entries()) rows.set(table.values.subarray(id * width, (id + 1) * width), row * width)
    const own = model.hostInputs(ids.values, ids.entry.shape[1]!)
    return {
      inputs_embeds: { type: 'float32', dims: [...ids.entry.shape, width], data: rows },
      attention_mask: hostTensor(given('attention_mask')!),
      ...floatTensors(own),
    }
  }
  if (model.role !== 'denoiser') throw new TypeError(item.className)
  const latents = given('hidden_states')!
  const { values } = latents
  const length = values.length / item.inputs
  for (const [i, value] of values.entries()) values[i] = value * (1 - Math.floor(i / length) / 64)
  const [batch = 0, , height = 0, width = 0] = latents.entry.shape
  const [, sequenceLength = 0] = given('encoder_hidden_states')!.entry.shape
  const lengths = given('text_lengths')
  const sizes = { height, width, sequenceLength, references: [], textLengths: lengths && [...lengths.values] }
  const prompt = model.promptInputs.flatMap((name) => {
    const value = given(name)
    return value === undefined ? [] : [[name, hostTensor(value)] as const]
  })
  const guidance = given('guidance')?.values[0]
  return {
    [model.latents.input]: hostTensor(latents),
    ...Object.fromEntries(prompt),
    ...floatTensors(model.positionInputs?.(sizes) ?? {}),
    ...floatTensors(guidance === undefined ? {} : (model.guidanceInputs?.(guidance, batch) ?? {})),
    ...floatTensors(model.stepInputs([...given('timestep')!.values])),
  }
}

function floatTensors(
  given: Readonly<Record<string, { readonly dims: readonly number[]; readonly data: Float32Array<ArrayBuffer> }>>,
): Inputs {
  return Object.fromEntries(Object.entries(given).map(([name, { dims, data }]) => [name, { type: 'float32', dims, data }]))
}

/**
 * Expects errors of at most 1.5 times PyTorch's. A network with edited weights magnifies roundings, up to thirty times more with one input
 * than with another. So the geometric mean of the errors over the inputs in the batch is compared.
 */
function expectErrors(actual: Results, expected: Results, rms: object, inputs = 1): void {
  for (const [name, own] of Object.entries<number>({ ...rms })) {
    const wanted = expected[name]!
    expect(actual[name], name).toHaveLength(wanted.length)
    const length = wanted.length / inputs
    const logarithms = Array.from({ length: inputs }, (_, k) => {
      const [begin, end] = [k * length, (k + 1) * length]
      return Math.log(relativeError(actual[name]?.subarray(begin, end), wanted.subarray(begin, end)))
    })
    const error = Math.exp(logarithms.reduce((sum, value) => sum + value, 0) / inputs)
    expect.soft(error, name).toBeLessThanOrEqual(1.5 * own)
  }
}

/** The weights of a case in the form in which Aquatint quantizes them, and the dequantized float32 weights that PyTorch computed with. */
async function quantizedTables(
  { className, quantized }: (typeof cases)[number] | (typeof massiveCases)[number],
  all: ReadonlyMap<string, Tensor>,
  bits: 8 | 4,
) {
  const how = { bits, sensitive: networkDefinition(className).sensitive }
  const table = tableOf(all)
  const decoded = new Map(table)
  const hashed: (string | Float32Array<ArrayBuffer>)[] = []
  for (const [name, { entry, values }] of [...all].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (!isQuantizable(entry, how)) continue
    const layout = quantizedLayout(entry.shape, optionsFor(name, how))
    const dequantized = dequantizeRows(quantizeRows(values, layout, name), layout)
    decoded.set(name, entryOf(name, entry.shape, dequantized))
    hashed.push(`${name}\n`, dequantized)
  }
  const { sha256, rms } = quantized[`q${bits}`]
  const bytes = new Uint8Array(await new Blob(hashed).arrayBuffer())
  expect(await sha256Hex(bytes), 'the sha256 of the dequantized weights that PyTorch computed with').toBe(sha256)
  return { coded: transformTable(table, [quantize(how)]), decoded, rms }
}

const tableOf = (all: ReadonlyMap<string, Tensor>): WeightTable => new Map([...all].map(([name, { entry }]) => [name, entry]))

describe.each(massiveCases)('$className: $largest in the residual stream', (item) => {
  test('its own weights', async () => {
    const all = await weights(item)
    const inputs = await callInputs(item, all)
    const expected = await run(cpu, item, tableOf(all), 'float32', inputs)
    const recordings = await tensors('float16-networks/massive.safetensors')
    // float32 has 13 bits more than float16, so its errors are thousands of times smaller.
    for (const [name, own] of Object.entries<number>(item.rms)) {
      const { values } = recordings.get(`${item.name}.${name}`)!
      expect(expected[name], name).toHaveLength(item.inputs * values.length)
      expect(relativeError(expected[name]!.subarray(0, values.length), values), name).toBeLessThan(own / 100)
    }
    expectErrors(await run(gpu, item, tableOf(all), 'float16', inputs), expected, item.rms, item.inputs)
  })

  test.each([8, 4] as const)('weights of %i bits', async (bits) => {
    const all = await weights(item)
    const inputs = await callInputs(item, all)
    const { coded, decoded, rms } = await quantizedTables(item, all, bits)
    const expected = await run(cpu, item, decoded, 'float32', inputs)
    expectErrors(await run(gpu, item, coded, 'float16', inputs), expected, rms, item.inputs)
  })
})

const massive = cases.filter(({ edits }) => edits.length > 0)

test.each(massive)('$name: $largest in the residual stream', async (item) => {
  const results = await run(gpu, item, tableOf(await weights(item)), 'float16', recordedOf(item, 'inputs'))
  const outputs = Object.entries(recordedOf(item, 'outputs')).map(([name, { data }]) => [name, data as Float32Array] as const)
  expectErrors(results, Object.fromEntries(outputs), item.rms)
})

describe.each([8, 4] as const)('with weights of %i bits', (bits) => {
  test.each(cases)('$name, against its dequantized weights in float32', async (item) => {
    const { coded, decoded, rms } = await quantizedTables(item, await weights(item), bits)
    const inputs = recordedOf(item, 'inputs')
    expectErrors(await run(gpu, item, coded, 'float16', inputs), await run(cpu, item, decoded, 'float32', inputs), rms)
  })
})
