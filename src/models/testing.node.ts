/**
 * For this folder's tests, in Node only: reads fixtures from disk and runs graphs with onnxruntime-web's wasm build, stage by stage,
 * weights as initializers or as inputs. It is not the runtime: nothing is streamed, moved or freed early.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as ort from 'onnxruntime-web/wasm'
import type { Config, SafetensorsDType, TensorEntry } from '../checkpoint/types.js'
import type { ComponentGraph, ElementType, Program, ValueInfo } from '../onnx/types.js'
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16 } from '../util/half.js'
import { elementCount } from '../util/element-count.js'

ort.env.wasm.numThreads = 1

export const fixtures = fileURLToPath(new URL('../../fixtures/', import.meta.url))

/** A tensor read whole: floats widened to float32, integers to numbers. */
export interface PlainTensor {
  readonly dims: readonly number[]
  readonly data: Float32Array<ArrayBuffer>
}

/** A table entry, with its bytes in memory. */
export interface MemoryEntry extends TensorEntry {
  readonly bytes: Uint8Array<ArrayBuffer>
}

const source = { byteLength: 0, read: () => Promise.reject(new Error('Tests read entries by their bytes')) }

/** The tensors of one safetensors file. */
export function readSafetensors(path: string): Map<string, MemoryEntry> {
  const file = readFileSync(path)
  const length = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: SafetensorsDType; shape: number[]; data_offsets: [number, number] }
  >
  const table = new Map<string, MemoryEntry>()
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const [begin, end] = offsets
    const bytes = Uint8Array.from(file.subarray(8 + length + begin, 8 + length + end))
    table.set(name, { name, dtype, shape, source, begin, end, bytes })
  }
  return table
}

/**
 * All weights of a component's folder, from all shards: those of the fp16 files if `variant` is `fp16`, otherwise those of the other files.
 */
export function readWeights(folder: string, variant?: string): Map<string, MemoryEntry> {
  const files = readdirSync(folder).filter(
    (name) => name.endsWith('.safetensors') && name.includes('.fp16') === (variant === 'fp16'),
  )
  const table = new Map<string, MemoryEntry>()
  for (const name of files) {
    for (const [key, entry] of readSafetensors(join(folder, name))) table.set(key, entry)
  }
  return table
}

export function readJson(path: string): Config {
  return JSON.parse(readFileSync(path, 'utf8')) as Config
}

/** The values of an entry. */
export function plain(entry: MemoryEntry): PlainTensor {
  const { buffer } = entry.bytes
  const dims = entry.shape
  switch (entry.dtype) {
    case 'F32':
      return { dims, data: new Float32Array(buffer) }
    case 'F16':
      return { dims, data: float16ToFloat32(new Uint16Array(buffer)) }
    case 'BF16':
      return { dims, data: bfloat16ToFloat32(new Uint16Array(buffer)) }
    case 'I64':
      return { dims, data: Float32Array.from(new BigInt64Array(buffer), Number) }
    default:
      throw new Error(`No values of ${entry.dtype} here`)
  }
}

function tensorOf(type: ElementType, dims: readonly number[], bytes: Uint8Array<ArrayBuffer>): ort.Tensor {
  if (type === 'float32') return new ort.Tensor('float32', new Float32Array(bytes.buffer), dims)
  if (type === 'float16') return new ort.Tensor('float16', new Uint16Array(bytes.buffer), dims)
  if (type === 'uint8') return new ort.Tensor('uint8', bytes, dims)
  if (type === 'int32') return new ort.Tensor('int32', new Int32Array(bytes.buffer), dims)
  throw new Error(`No tensors of ${type} here`)
}

/** The bytes of a weight in the type and shape that its graph declares. */
function convert(entry: MemoryEntry, weight: ValueInfo): Uint8Array<ArrayBuffer> {
  if (weight.type !== 'float32' && weight.type !== 'float16') return entry.bytes
  const values = plain(entry).data
  if (values.length !== elementCount(weight.dims)) throw new Error(`${entry.name} has ${values.length} values`)
  return new Uint8Array(weight.type === 'float32' ? values.buffer : float32ToFloat16(values).buffer)
}

/** Runs a component once and returns its outputs. */
export async function runGraph(
  graph: ComponentGraph,
  table: ReadonlyMap<string, MemoryEntry>,
  inputs: Readonly<Record<string, PlainTensor>>,
): Promise<Record<string, PlainTensor>> {
  const values = await runStages(graph, table, inputs)
  return Object.fromEntries(graph.outputs.map(({ name }) => [name, floatsOf(name, values)]))
}

/** A float32 value, by its name in the component. */
export function floatsOf(name: string, values: ReadonlyMap<string, ort.Tensor>): PlainTensor {
  const value = values.get(name)
  if (value === undefined || value.type !== 'float32') throw new Error(`No float32 value ${name}`)
  return { dims: value.dims, data: Float32Array.from(value.data as Float32Array) }
}

/** Runs a component once and returns every value that its stages passed on, by its name in the component. */
export async function runStages(
  graph: ComponentGraph,
  table: ReadonlyMap<string, MemoryEntry>,
  inputs: Readonly<Record<string, PlainTensor>>,
): Promise<ReadonlyMap<string, ort.Tensor>> {
  const values = new Map<string, ort.Tensor>()
  for (const input of graph.inputs) {
    const given = inputs[input.name]
    if (given === undefined || given.dims.join() !== input.dims.join()) {
      throw new Error(`Input ${input.name} wants [${input.dims.join()}], not [${given?.dims.join() ?? 'nothing'}]`)
    }
    values.set(input.name, new ort.Tensor('float32', given.data, given.dims))
  }
  const sessions = new Map<string, ort.InferenceSession>()
  for (const stage of graph.stages) {
    const { program } = stage
    const weights = program.weights.map((weight) => {
      const entry = table.get(stage.weights[weight.name] ?? '')
      if (entry === undefined) throw new Error(`No tensor for ${weight.name} of ${stage.name}`)
      return { weight, data: convert(entry, weight) }
    })
    const asInputs = takesWeightsAsInputs(program)
    // Initializers belong to a session, so only programs without them are shared between stages.
    const key = asInputs ? program.key : stage.name
    const session =
      sessions.get(key) ??
      (await ort.InferenceSession.create(program.model, {
        externalData: asInputs ? [] : weights.map(({ weight, data }) => ({ path: weight.name, data })),
        logSeverityLevel: 3,
      }))
    sessions.set(key, session)
    const feeds: Record<string, ort.Tensor> = {}
    for (const [name, value] of Object.entries(stage.inputs)) {
      const tensor = values.get(value)
      if (tensor === undefined) throw new Error(`Stage ${stage.name} wants ${value}, which no stage before it gives`)
      feeds[name] = tensor
    }
    if (asInputs) for (const { weight, data } of weights) feeds[weight.name] = tensorOf(weight.type, weight.dims, data)
    const results = await session.run(feeds)
    for (const info of program.outputs) {
      const result = results[info.name]
      if (result === undefined || result.dims.join() !== info.dims.join() || result.type !== info.type) {
        throw new Error(
          `${stage.name} gave ${info.name} as ${result?.type} [${result?.dims.join()}], not ${info.type} [${info.dims.join()}]`,
        )
      }
      values.set(stage.outputs[info.name] ?? '', result)
    }
  }
  for (const session of sessions.values()) await session.release()
  return values
}

function takesWeightsAsInputs(program: Program): boolean {
  // A program does not state whether its weights are initializers. Initializers are external data, for which the model has a field `location`.
  return program.weights.length === 0 || !Buffer.from(program.model).includes('location')
}

/** The largest difference, relative to the reference's largest magnitude. Infinity for a NaN or a wrong number of values. */
export function relativeError(actual: PlainTensor | undefined, expected: PlainTensor): number {
  if (actual === undefined || actual.data.length !== expected.data.length) return Infinity
  let worst = 0
  let peak = 0
  for (const [index, value] of expected.data.entries()) {
    const difference = Math.abs(value - (actual.data[index] ?? Number.NaN))
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Infinity : difference
    peak = Math.max(peak, Math.abs(value))
  }
  return worst / peak
}

/** Rows of a token embedding table, one for each id. */
export function embed(entry: MemoryEntry, ids: ArrayLike<number>): Float32Array<ArrayBuffer> {
  const table = plain(entry)
  const width = table.dims[1] ?? 0
  const rows = new Float32Array(ids.length * width)
  for (let index = 0; index < ids.length; index++) {
    const begin = (ids[index] ?? 0) * width
    rows.set(table.data.subarray(begin, begin + width), index * width)
  }
  return rows
}
