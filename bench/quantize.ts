/**
 * Compares quantizing while streaming with casting to float16, on the weights of one full-size block: seconds, bytes, memory, and the error.
 * The weights are random (normally distributed); the shapes are those of a published model's table in fixtures/weight-tables.
 *
 *     node --expose-gc scripts/run.mjs bench/quantize.ts [table] [--json]
 */

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { castWeights } from '../src/checkpoint/transforms/cast.js'
import { quantize } from '../src/checkpoint/transforms/quantize.js'
import { transformTable, type WeightTransform } from '../src/checkpoint/transforms/transform-table.js'
import {
  dequantizeRows,
  isQuantizable,
  quantizedLayout,
  quantizeRows,
  type QuantizeOptions,
} from '../src/checkpoint/transforms/quantize-rows.js'
import type { TensorEntry, WeightTable } from '../src/checkpoint/types.js'
import { networkDefinition } from '../src/models/registry.js'
import { quantizingTransforms } from '../src/pipelines/loading/dtypes.js'
import type { ByteRange } from '../src/hub/types.js'
import { float32ToFloat16 } from '../src/util/half.js'
import { elementCount } from '../src/util/element-count.js'
import { decodeFloats } from '../src/checkpoint/element-types.js'

interface Measured {
  readonly dtype: string
  /** The bytes of the whole model's weights in this type. */
  readonly modelBytes: number
  readonly bytes: number
  readonly seconds: number
  /** CPU seconds of this process, which other work on the machine changes less than `seconds`. */
  readonly cpuSeconds: number
  /** Megabytes of source weights that are converted in a CPU second. */
  readonly megabytesPerSecond: number
  /** The peak bytes of ArrayBuffers above those at the start, sampled after each piece. */
  readonly peakBytes: number
}

/** The types in which the weights of a class can be stored, and the transforms that make them. */
function formsOf(className: string): readonly (readonly [string, readonly WeightTransform[]])[] {
  const { sensitive } = networkDefinition(className)
  return [
    ['float32', [castWeights('F32')]],
    ['float16', [castWeights('F16')]],
    ['q8', quantizingTransforms('q8', sensitive)],
    ['q4', quantizingTransforms('q4', sensitive)],
    ['q4, scales by range', [quantize({ bits: 4, scales: 'range', sensitive }), castWeights('F16')]],
    ['q4 with zero points', [quantize({ bits: 4, zeroPoints: true, sensitive }), castWeights('F16')]],
  ]
}

/** Four million normal numbers with standard deviation 0.02, in float32 or float16. Reading a larger tensor repeats them. */
function randomBytes(type: 'F32' | 'F16'): Uint8Array<ArrayBuffer> {
  const values = new Float32Array(1 << 22)
  let state = 1
  const uniform = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state + 0.5) / 2 ** 32
  }
  for (let i = 0; i < values.length; i += 2) {
    const radius = 0.02 * Math.sqrt(-2 * Math.log(uniform()))
    const angle = 2 * Math.PI * uniform()
    values[i] = radius * Math.cos(angle)
    values[i + 1] = radius * Math.sin(angle)
  }
  return new Uint8Array((type === 'F32' ? values : float32ToFloat16(values)).buffer)
}

function readTable(file: string): {
  readonly className: string
  readonly shapes: readonly (readonly [string, readonly number[]])[]
} {
  const path = fileURLToPath(new URL(`../fixtures/weight-tables/${file}.json`, import.meta.url))
  const json = JSON.parse(readFileSync(path, 'utf8')) as {
    _class_name: string
    tensors: Readonly<Record<string, readonly number[]>>
  }
  return { className: json._class_name, shapes: Object.entries(json.tensors) }
}

function tableOf(shapes: readonly (readonly [string, readonly number[]])[], type: 'F32' | 'F16'): WeightTable {
  const pool = randomBytes(type)
  const read = ({ begin, end }: ByteRange) => {
    const bytes = new Uint8Array(end - begin)
    // Always read from the pool's beginning, in steps of its size: this causes the memory traffic of a file in the page cache.
    for (let at = 0; at < bytes.byteLength; at += pool.byteLength)
      bytes.set(pool.subarray(0, Math.min(pool.byteLength, bytes.byteLength - at)), at)
    return Promise.resolve(bytes)
  }
  return new Map(
    shapes.map(([name, shape]): [string, TensorEntry] => {
      const end = shape.reduce((product, dim) => product * dim, type === 'F32' ? 4 : 2)
      return [name, { name, shape, dtype: type, source: { byteLength: end, read }, begin: 0, end }]
    }),
  )
}

const bytesOf = (table: WeightTable) => [...table.values()].reduce((sum, entry) => sum + entry.end - entry.begin, 0)

async function measure(
  dtype: string,
  transforms: readonly WeightTransform[],
  block: WeightTable,
  model: WeightTable,
): Promise<Measured> {
  const run = async (afterPiece: () => void) => {
    const converted = transformTable(block, transforms)
    for (const { source, begin, end } of converted.values()) {
      for (let at = begin; at < end; at += 8 << 20) {
        await source.read({ begin: at, end: Math.min(at + (8 << 20), end) })
        afterPiece()
      }
    }
    return bytesOf(converted)
  }
  // One run for memory, with a garbage collection after each piece, and one run for time.
  globalThis.gc?.()
  const before = process.memoryUsage().arrayBuffers
  let peakBytes = 0
  await run(() => {
    peakBytes = Math.max(peakBytes, process.memoryUsage().arrayBuffers - before)
    globalThis.gc?.()
  })
  const cpu = process.cpuUsage()
  const start = performance.now()
  const bytes = await run(() => {})
  const used = process.cpuUsage(cpu)
  const seconds = (performance.now() - start) / 1000
  return {
    dtype,
    modelBytes: bytesOf(transformTable(model, transforms)),
    bytes,
    seconds,
    cpuSeconds: (used.user + used.system) / 1e6,
    megabytesPerSecond: bytesOf(block) / (used.user + used.system),
    peakBytes,
  }
}

/** The signal-to-noise ratio of converted weights, in dB. */
function signalToNoise(options: QuantizeOptions): number {
  const values = decodeFloats(randomBytes('F32'), 'F32')
  const layout = quantizedLayout([values.length / 4096, 4096], options)
  const back = dequantizeRows(quantizeRows(values, layout, 'random'), layout)
  let [signal, noise] = [0, 0]
  for (const [i, value] of values.entries()) {
    signal += value ** 2
    noise += (value - (back[i] ?? 0)) ** 2
  }
  return 10 * Math.log10(signal / noise)
}

/** Gigabytes of each published model's weights in the four types. */
function modelSizes(): { readonly model: string; readonly gigabytes: readonly number[] }[] {
  const folder = fileURLToPath(new URL('../fixtures/weight-tables/', import.meta.url))
  return readdirSync(folder)
    .map((file) => file.replace('.json', ''))
    .filter((model) => !model.endsWith('-vae'))
    .map((model) => {
      const { className, shapes } = readTable(model)
      const table = tableOf(shapes, 'F16')
      return {
        model,
        gigabytes: formsOf(className)
          .slice(0, 4)
          .map(([, transforms]) => bytesOf(transformTable(table, transforms)) / 1e9),
      }
    })
}

/** Runs the benchmark. */
export async function main(args: readonly string[]): Promise<void> {
  const file = args.find((arg) => !arg.startsWith('--')) ?? 't5-xxl-encoder'
  const { className, shapes } = readTable(file)
  const { sensitive } = networkDefinition(className)
  const linear = shapes.filter(([name, shape]) => isQuantizable({ name, shape, dtype: 'F16' }, { bits: 4, sensitive }))
  // About one block: the first Linear weights that have at most 200 million parameters together.
  let count = 0
  const block = linear.filter(([, shape]) => (count += elementCount(shape)) <= 2e8)
  const type = 'F16'
  const [part, model] = [tableOf(block, type), tableOf(shapes, type)]
  const rows: Measured[] = []
  for (const [dtype, options] of formsOf(className)) rows.push(await measure(dtype, options, part, model))
  const noise = Object.fromEntries(
    ([4, 8] as const).flatMap((bits) =>
      [16, 32, 64, 128].flatMap((blockSize) =>
        (['least squares', 'range', 'zero points'] as const).flatMap((how) =>
          bits === 8 && how === 'least squares'
            ? []
            : [
                [
                  `q${bits}, blocks of ${blockSize}, ${how}`,
                  signalToNoise({
                    bits,
                    blockSize,
                    zeroPoints: how === 'zero points',
                    scales: how === 'range' ? how : undefined,
                  }),
                ] as const,
              ],
        ),
      ),
    ),
  )
  if (args.includes('--json')) {
    console.log(
      JSON.stringify(
        { table: file, className, sourceBytes: bytesOf(part), rows, signalToNoise: noise, models: modelSizes() },
        null,
        2,
      ),
    )
    return
  }
  console.log(`${className} (${file}), ${block.length} Linear weights, ${(bytesOf(part) / 1e6).toFixed(0)} MB as float16`)
  console.log('dtype                 model GB   part MB   seconds     cpu s    MB/cpu s  peak MiB')
  for (const row of rows) {
    const cells = [
      row.modelBytes / 1e9,
      row.bytes / 1e6,
      row.seconds,
      row.cpuSeconds,
      row.megabytesPerSecond,
      row.peakBytes / 2 ** 20,
    ]
    console.log(row.dtype.padEnd(20) + cells.map((cell, i) => cell.toFixed([0, 2, 3].includes(i) ? 2 : 0).padStart(10)).join(''))
  }
  console.log('\nsignal to noise of normal weights, dB')
  for (const [form, decibels] of Object.entries(noise)) console.log(`${form.padEnd(36)}${decibels.toFixed(2)}`)
  console.log('\nweights of full-size models, GB     float32   float16        q8        q4')
  for (const { model, gigabytes } of modelSizes())
    console.log(model.padEnd(32) + gigabytes.map((size) => size.toFixed(2).padStart(10)).join(''))
}
