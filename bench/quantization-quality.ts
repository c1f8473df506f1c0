/**
 * Measures the error of q8 and q4. First runs the cases of every fixture on the CPU, which computes in float32, with weights in float16, q8,
 * an earlier q4 and q4. Compares the images and the first noise predictions with the results of float16 weights. The earlier q4 took scales
 * from the range of each block, and had no list of sensitive weights for each class. Then measures the error of each quantized tensor of
 * full-size models, with random weights in the published shapes. `--write` writes the first table to docs/quantization.md.
 *
 *     node scripts/run.mjs bench/quantization-quality.ts [--fixtures [--write] | --weights]
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { bytesOf, decodeFloats, isFloatDType } from '../src/checkpoint/element-types.js'
import { castWeights } from '../src/checkpoint/transforms/cast.js'
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
import { caseLoading, caseOptions } from '../src/pipelines/testing-cases.js'
import { psnr } from '../src/pipelines/testing.js'
import { diskRepository, fixtures, readCases } from '../src/pipelines/testing.node.js'
import type { LoadPipelineOptions, PlainTensor } from '../src/pipelines/types.js'
import { elementCount } from '../src/util/element-count.js'
import { writeSection } from './memory/document.js'
import { publishedModel } from './memory/weight-tables.js'
import { normalHalves } from './quantize/virtual-checkpoint.js'

/** Prints both tables as Markdown. */
export async function main(args: readonly string[]): Promise<void> {
  if (!args.includes('--weights')) {
    const table = await fixtureTable()
    if (args.includes('--write')) writeSection('quality', table)
  }
  if (!args.includes('--fixtures')) weightTable()
}

/** Every fixture that is a pipeline: its folder below fixtures/, and the path of its repository. */
const cases: readonly (readonly [name: string, repository: string])[] = [
  ...['', 'few-steps'].flatMap((parent) =>
    readdirSync(join(fixtures, parent))
      .map((name) => join(parent, name))
      .filter((name) => existsSync(join(fixtures, name, 'case.json')) && existsSync(join(fixtures, name, 'repo')))
      .map((name) => [name, join(fixtures, name, 'repo')] as const),
  ),
  ['bundled', join(fixtures, '../public/models/aquatint-emoji')],
]

const kilobytes = (count: number) => (count / 1000).toFixed(0)

async function fixtureTable(): Promise<string> {
  const lines = [
    '| fixture | cases | q8: image, dB | noise, % | q4, before: image, dB | noise, % | kB | q4: image, dB | noise, % | kB |',
    `| --- |${' ---: |'.repeat(9)}`,
  ]
  console.log(lines.join('\n'))
  for (const [name, folder] of cases) {
    const repository = diskRepository(folder)
    const before = await dequantized(folder)
    const exact = await results(name, repository, 'float16')
    const q8 = compare(await results(name, repository, 'q8'), exact)
    const former = compare(await results(name, diskRepository(folder, before.files), 'float32'), exact)
    const q4 = compare(await results(name, repository, 'q4'), exact)
    const errors = ({ image, noise }: Compared) => [image.toFixed(1), (100 * noise).toFixed(1)]
    const cells = [...errors(q8), ...errors(former), kilobytes(before.formerBytes), ...errors(q4), kilobytes(before.bytes)]
    const line = `| ${name} | ${exact.length} | ${cells.join(' | ')} |`
    console.log(line)
    lines.push(line)
  }
  return lines.join('\n')
}

/** The weights that the earlier q4 never quantized, in every class. */
const formerlyKept =
  /^(?:time_embedding|add_embedding|class_embedding|time_text_embed|context_embedder|proj_out|norm_out|text_projection)\./

/**
 * Returns the weight files of a repository, with the float32 values that the earlier q4 gives their weights. Also returns the bytes of
 * these weights in the earlier q4 and in the current one.
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
    formerBytes += sizeOf([quantize(former), castWeights('F16')])
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

/** The first noise prediction and the image of a case. */
interface Result {
  readonly noise: PlainTensor
  readonly image: PlainTensor
}

/** Runs the cases of a fixture that generate from text alone. */
async function results(
  fixture: string,
  repository: Parameters<typeof loadPipeline>[0],
  dtype: LoadPipelineOptions['dtype'],
): Promise<Result[]> {
  const all: Result[] = []
  for (const { item } of readCases(fixture)) {
    // A case's variant is ignored, because its files have the same values in another type.
    const { components } = caseLoading(item)
    const pipeline = await loadPipeline(repository, { device: 'wasm', dtype, components })
    try {
      const options = caseOptions(item, pipeline.info.scheduler.className)
      const { captured } = await pipeline.generate(item.prompt, { ...options, capture: ['noise_pred', 'image'] })
      const { noise_pred_0: noise, image } = captured ?? {}
      if (noise === undefined || image === undefined) throw new Error(`${fixture} made no image`)
      all.push({ noise, image })
    } finally {
      await pipeline.dispose()
    }
  }
  return all
}

interface Compared {
  /** The mean PSNR of the images, in dB. */
  readonly image: number
  /** The root mean square error of the first noise prediction, divided by the prediction's root mean square: the mean of the cases. */
  readonly noise: number
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

function compare(actual: readonly Result[], expected: readonly Result[]): Compared {
  const pairs = expected.map((wanted, k) => {
    const made = actual[k]
    if (made === undefined) throw new Error(`case ${k} was not run`)
    return { image: psnr(made.image, wanted.image), noise: relativeError(made.noise.data, wanted.noise.data) }
  })
  return { image: mean(pairs.map(({ image }) => image)), noise: mean(pairs.map(({ noise }) => noise)) }
}

/** √(Σ (actual − expected)² / Σ expected²). */
function relativeError(actual: ArrayLike<number>, expected: Float32Array): number {
  let [signal, noise] = [0, 0]
  for (const [i, value] of expected.entries()) {
    signal += value ** 2
    noise += ((actual[i] ?? Number.NaN) - value) ** 2
  }
  return Math.sqrt(noise / signal)
}

const models = ['t5-xxl-encoder', 'sd3-medium-transformer', 'sd35-medium-transformer', 'sdxl-unet', 'sd15-unet']

/** Of each tensor, only the rows that hold the first 2²⁰ numbers are quantized. More random numbers would not change the result. */
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

/** The relative error of quantizing the first rows of a tensor [rows, columns]. Its values come from `pool`, beginning at `offset`. */
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
