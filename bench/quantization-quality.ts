/**
 * Measures the error of q8 and q4. First, for every fixture, compares the images and the first noise predictions of its cases with diffusers' in float32, on the
 * CPU: in q8, in q4 as it was before scales had the least squared error and sensitive weights were kept, and in q4.
 * Then measures the error of each quantized tensor of full-size models, with random weights in the published shapes.
 *
 *     node scripts/run.mjs bench/quantization-quality.ts [--fixtures | --weights]
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { bytesOf, decodeFloats, isFloatDType } from '../src/checkpoint/element-types.js'
import { cast } from '../src/checkpoint/transforms/cast.js'
import { quantize } from '../src/checkpoint/transforms/quantize.js'
import { transformTable, type WeightTransform } from '../src/checkpoint/transforms/transform-table.js'
import type { TensorEntry } from '../src/checkpoint/types.js'
import { measureWeights, readWeightTable } from '../src/checkpoint/weight-table.js'
import { networkDefinition } from '../src/models/registry.js'
import { quantizingTransforms } from '../src/pipelines/loading/dtypes.js'
import { float16ToFloat32, float32ToFloat16 } from '../src/util/half.js'
import {
  dequantizeRows,
  isQuantizable,
  quantizedLayout,
  quantizeRows,
  type QuantizeOptions,
} from '../src/checkpoint/transforms/quantize-rows.js'
import { loadPipeline } from '../src/pipelines/diffusion-pipeline.js'
import { caseOptions } from '../src/pipelines/testing-cases.js'
import { psnr } from '../src/pipelines/testing.js'
import { diskRepository, fixtures, readCases } from '../src/pipelines/testing.node.js'
import type { LoadPipelineOptions, PlainTensor } from '../src/pipelines/types.js'
import { elementCount } from '../src/util/element-count.js'
import { publishedModel } from './memory/weight-tables.js'
import { normalHalves } from './quantize/virtual-checkpoint.js'

/** Prints both tables as Markdown. */
export async function main(args: readonly string[]): Promise<void> {
  if (!args.includes('--weights')) await fixtureTable()
  if (!args.includes('--fixtures')) weightTable()
}

/** The cases of each fixture: its folder below fixtures/, and the path of its repository. */
const cases: readonly (readonly [name: string, repository: string])[] = [
  ...['sd15', 'sd21', 'sdxl', 'sd3', 'sd35', 'flux', 'chroma', 'flux2-klein', 'z-image'].map(
    (name) => [`tiny-${name}`, join(fixtures, `tiny-${name}`, 'repo')] as const,
  ),
  ['bundled', join(fixtures, '../public/models/aquatint-emoji')],
]

const kilobytes = (count: number) => (count / 1000).toFixed(0)

async function fixtureTable(): Promise<void> {
  console.log(
    '| fixture | cases | q8: image, dB | noise, % | q4, before: image, dB | noise, % | kB | q4: image, dB | noise, % | kB |',
  )
  console.log(`| --- |${' ---: |'.repeat(9)}`)
  for (const [name, folder] of cases) {
    const repository = diskRepository(folder)
    const before = await dequantized(folder)
    const q8 = await compare(name, repository, 'q8')
    const former = await compare(name, diskRepository(folder, before.files), 'float32')
    const q4 = await compare(name, repository, 'q4')
    const errors = ({ image, noise }: Compared) => [image.toFixed(1), (100 * noise).toFixed(1)]
    const cells = [...errors(q8), ...errors(former), kilobytes(before.formerBytes), ...errors(q4), kilobytes(before.bytes)]
    console.log(`| ${name} | ${q4.cases} | ${cells.join(' | ')} |`)
  }
}

/** The weights that were kept before classes named theirs. */
const formerlyKept =
  /^(?:time_embedding|add_embedding|class_embedding|time_text_embed|context_embedder|proj_out|norm_out|text_projection)\./

/**
 * The weight files of a repository, with the values in float32 that q4 gave them before: scales by the range of a block. Also the bytes that
 * these weights took in q4, and take now.
 */
async function dequantized(folder: string) {
  const former: QuantizeOptions = { bits: 4, scales: 'range', sensitive: { kept: formerlyKept } }
  const repository = diskRepository(folder)
  const files: Record<string, Uint8Array<ArrayBuffer>> = {}
  let formerBytes = 0
  let bytes = 0
  for (const { path } of await repository.files()) {
    const network = /^([^/]+)\/[^/]+\.safetensors$/.exec(path)?.[1]
    if (network === undefined || path.includes('.fp16.')) continue
    const { _class_name: className, architectures } = JSON.parse(readFileSync(join(folder, network, 'config.json'), 'utf8')) as {
      readonly _class_name?: string
      readonly architectures?: readonly string[]
    }
    const definition = networkDefinition(className ?? architectures?.[0] ?? '')
    if (!definition.quantizable) continue
    const table = await readWeightTable(repository, { kind: 'single', path, variant: null })
    const sizeOf = (transforms: readonly WeightTransform[]) => measureWeights(transformTable(table, transforms)).bytes
    formerBytes += sizeOf([quantize(former), cast('F16')])
    bytes += sizeOf(quantizingTransforms('q4', definition.sensitive))
    const tensors = await Promise.all(
      [...table.values()].filter(({ dtype }) => isFloatDType(dtype)).map((entry) => formerValues(entry, former)),
    )
    files[path] = safetensorsFile(tensors)
  }
  return { files, formerBytes, bytes }
}

interface Values {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array<ArrayBuffer>
}

async function formerValues({ name, shape, dtype, source, begin, end }: TensorEntry, former: QuantizeOptions): Promise<Values> {
  if (!isFloatDType(dtype)) throw new TypeError(`${name} is ${dtype}`)
  const values = decodeFloats(await source.read({ begin, end }), dtype)
  if (!isQuantizable({ name, shape, dtype }, former)) return { name, shape, values: float16ToFloat32(float32ToFloat16(values)) }
  const layout = quantizedLayout(shape, former)
  return { name, shape, values: dequantizeRows(quantizeRows(values, layout, name), layout) }
}

function safetensorsFile(tensors: readonly Values[]): Uint8Array<ArrayBuffer> {
  let at = 0
  const entries = tensors.map(({ name, shape, values }) => {
    const begin = at
    at += values.byteLength
    return [name, { dtype: 'F32', shape, data_offsets: [begin, at] }] as const
  })
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)))
  const bytes = new Uint8Array(8 + header.byteLength + at)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.byteLength), true)
  bytes.set(header, 8)
  for (const [index, { values }] of tensors.entries())
    bytes.set(bytesOf(values), 8 + header.byteLength + (entries[index]?.[1].data_offsets[0] ?? 0))
  return bytes
}

interface Compared {
  readonly cases: number
  /** The mean PSNR of the images, in dB. */
  readonly image: number
  /** The root mean square error of the first noise prediction, relative to its root mean square: the mean of the cases. */
  readonly noise: number
}

/** Runs the cases of a fixture that generate from text alone. */
async function compare(
  fixture: string,
  repository: Parameters<typeof loadPipeline>[0],
  dtype: LoadPipelineOptions['dtype'],
): Promise<Compared> {
  const pipeline = await loadPipeline(repository, { device: 'wasm', dtype })
  try {
    let [count, image, noise] = [0, 0, 0]
    for (const { item, reference } of readCases(fixture)) {
      const options = caseOptions(item, pipeline.info.scheduler.className)
      const { captured = {} } = await pipeline.generate(item.prompt, { ...options, capture: ['noise_pred', 'image'] })
      const pair = (name: string) => [captured[name], reference[name]].map((tensor) => tensor ?? absent(fixture, name)) as Pair
      count++
      image += psnr(...pair('image'))
      noise += relativeError(...(pair('noise_pred_0').map(({ data }) => data) as [Float32Array, Float32Array]))
    }
    return { cases: count, image: image / count, noise: noise / count }
  } finally {
    await pipeline.dispose()
  }
}

type Pair = [actual: PlainTensor, expected: PlainTensor]

function absent(fixture: string, tensor: string): never {
  throw new Error(`${fixture} has no ${tensor}`)
}

/** √(Σ (actual − expected)² / Σ expected²). */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  let [signal, noise] = [0, 0]
  for (const [i, value] of expected.entries()) {
    signal += value ** 2
    noise += ((actual[i] ?? Number.NaN) - value) ** 2
  }
  return Math.sqrt(noise / signal)
}

const models = ['t5-xxl-encoder', 'sd3-medium-transformer', 'sd35-medium-transformer', 'sdxl-unet', 'sd15-unet']

/** The most numbers of a tensor that are quantized, in whole rows. More random numbers would not change the result. */
const mostNumbers = 1 << 20

const percent = (error: number) => (100 * error).toFixed(2)

function weightTable(): void {
  const pool = float16ToFloat32(normalHalves)
  console.log('\n| full-size model | tensors | weights, billions | q8: error, % (least to most) | q4 |')
  console.log('| --- | ---: | ---: | ---: | ---: |')
  for (const model of models) {
    const { _class_name: className, tensors: all } = publishedModel(model)
    const { sensitive } = networkDefinition(className)
    const tensors = Object.entries(all).filter(([name, shape]) =>
      isQuantizable({ name, shape, dtype: 'F16' }, { bits: 4, sensitive }),
    )
    const total = tensors.reduce((sum, [, shape]) => sum + elementCount(shape), 0)
    const cells = ([8, 4] as const).map((bits) => {
      const errors = tensors.map(([name, shape], index) => tensorError(pool, 7919 * index, shape, { bits }, name))
      return `${percent(Math.min(...errors))} to ${percent(Math.max(...errors))}`
    })
    console.log(`| ${model} | ${tensors.length} | ${(total / 1e9).toFixed(2)} | ${cells.join(' | ')} |`)
  }
}

/** The error of the first rows of a tensor [rows, columns] of normal numbers, which come from the pool, starting at `offset`. */
function tensorError(
  pool: Float32Array,
  offset: number,
  shape: readonly number[],
  options: QuantizeOptions,
  name: string,
): number {
  const [rows = 0, columns = 1] = shape
  const count = Math.min(rows, Math.ceil(mostNumbers / columns))
  const values = Float32Array.from({ length: count * columns }, (_, i) => pool[(offset + i) % pool.length] ?? 0)
  const layout = quantizedLayout([count, columns], options)
  return relativeError(dequantizeRows(quantizeRows(values, layout, name), layout), values)
}
