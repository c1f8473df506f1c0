/** The table that the GPU benchmark ends with. Pure. */

import type { KernelSource } from '../../src/memory/device-info.js'
import type { QuantizationName } from '../../src/pipelines/types.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import type { Measurement } from './measure.js'

/** How a network is run. */
export interface Form {
  readonly kernels: KernelSource
  /** Default: the weights are float16. */
  readonly quantization?: QuantizationName
}

/** A measurement, or the reason why there is none. */
export interface Row {
  readonly name: string
  readonly flops: number
  readonly form: Form
  readonly result: Measurement | string
}

/** The name of the rows that time a plain matrix product. The speed of every row is compared with the fastest of these rows. */
export const product = 'matrix product'

/** Returns a form's label: the type of the weights, and whose kernels run. */
export function labelOf({ kernels, quantization }: Form): string {
  return `${quantization ?? 'float16'}, kernels of ${kernels === 'aquatint' ? 'Aquatint' : 'onnxruntime'}`
}

const headings = [
  '',
  'weights, kernels',
  'computes in',
  'load, s',
  'first run, s',
  'each run, s',
  'TFLOP/s',
  '% of the product’s TFLOP/s',
  'most GPU memory',
  'weights of it',
  'PyTorch float16, s',
  'times PyTorch',
]

/** Returns the lines of a Markdown table, and below it why measurements are missing. `torch`: PyTorch's seconds by name. */
export function tableOf(rows: readonly Row[], torch: ReadonlyMap<string, number>): readonly string[] {
  const fastest = Math.max(...rows.flatMap((row) => (row.name === product ? [speedOf(row)] : [])))
  return [
    lineOf(headings),
    lineOf(headings.map((_, i) => (i < 3 ? '---' : '---:'))),
    ...rows.map((row) => rowOf(row, fastest, torch)),
    '',
    'A run is a step with guidance, a decoded image or a product; the first one compiles the kernels.',
    ...rows.flatMap(({ name, form, result }) => (typeof result === 'string' ? [`${name}, ${labelOf(form)}: ${result}`] : [])),
  ]
}

function rowOf(row: Row, fastest: number, torch: ReadonlyMap<string, number>): string {
  const { name, form, result } = row
  if (typeof result === 'string') return lineOf([name, labelOf(form), 'see below', ...headings.slice(3).map(() => '')])
  const { computes, loadSeconds, firstSeconds, seconds, peakBytes, weightBytes } = result
  const speed = speedOf(row)
  const reference = torch.get(name)
  return lineOf([
    name,
    labelOf(form),
    computes,
    loadSeconds.toFixed(1),
    firstSeconds.toFixed(1),
    seconds.toPrecision(3),
    speed.toPrecision(3),
    fastest > 0 ? `${Math.round((100 * speed) / fastest)} %` : '',
    formatBytes(peakBytes),
    formatBytes(weightBytes),
    reference?.toPrecision(3) ?? '',
    reference === undefined ? '' : (seconds / reference).toFixed(2),
  ])
}

/** Floating-point operations a second, in units of 10¹². */
function speedOf({ flops, result }: Row): number {
  return typeof result === 'string' ? 0 : flops / result.seconds / 1e12
}

function lineOf(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}
