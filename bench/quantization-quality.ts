/**
 * Measures the error of q8 and q4. First, for every fixture, compares the image and the first noise prediction with diffusers' in float32, on the CPU.
 * Then measures the error of each quantized tensor of full-size models, with random weights in the published shapes.
 *
 *     node scripts/run.mjs bench/quantization-quality.ts [--fixtures | --weights]
 */

import { join } from 'node:path'
import { float16ToFloat32 } from '../src/util/half.js'
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

const words = ['q8', 'q4'] as const

/** The first case of each fixture: its folder below fixtures/, and the path of its repository. */
const cases: readonly (readonly [name: string, repository: string])[] = [
  ...['tiny-sd15', 'tiny-sd21', 'tiny-sdxl', 'tiny-sd3', 'tiny-sd35'].map(
    (name) => [name, join(fixtures, name, 'repo')] as const,
  ),
  ['bundled', join(fixtures, '../public/models/aquatint-emoji')],
]

async function fixtureTable(): Promise<void> {
  console.log('| fixture | q8: image, dB | noise, % | q4: image, dB | noise, % |')
  console.log('| --- | ---: | ---: | ---: | ---: |')
  for (const [name, repository] of cases) {
    const cells: string[] = []
    for (const dtype of words) {
      const { image, noise } = await compare(name, repository, dtype)
      cells.push(image.toFixed(1), (100 * noise).toFixed(1))
    }
    console.log(`| ${name} | ${cells.join(' | ')} |`)
  }
}

/** The PSNR of the image in dB, and the root mean square error of the first noise prediction, relative to its root mean square. */
async function compare(fixture: string, repository: string, dtype: LoadPipelineOptions['dtype']) {
  const [first] = readCases(fixture)
  if (first === undefined) throw new Error(`${fixture} has no case`)
  const { item, reference } = first
  const pipeline = await loadPipeline(diskRepository(repository), { device: 'wasm', dtype })
  try {
    const options = caseOptions(item, pipeline.info.scheduler.className)
    const { captured = {} } = await pipeline.generate(item.prompt, { ...options, capture: ['noise_pred', 'image'] })
    const pair = (name: string) => [captured[name], reference[name]].map((tensor) => tensor ?? absent(fixture, name)) as Pair
    return {
      image: psnr(...pair('image')),
      noise: relativeError(...(pair('noise_pred_0').map(({ data }) => data) as [Float32Array, Float32Array])),
    }
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
    const tensors = Object.entries(publishedModel(model).tensors).filter(([name, shape]) =>
      isQuantizable({ name, shape, dtype: 'F16' }, { bits: 4 }),
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
