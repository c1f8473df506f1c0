/**
 * A Gemm and the sum of its result with a value of the same size, such as the residual sum after a feed-forward, as one dispatch: onnxruntime's Gemm, changed so that it adds the
 * value before it writes. The sum is rounded once instead of twice. The result of the Gemm alone is not written: in the graphs of this library only the sum reads such a product
 * (models/residual-sums.test.ts), and a run fails if a kernel reads it.
 */

import { bufferAt, type Dispatch, type Match, type Sequence } from './dispatch.js'

/** The indices, in Gemm's uniforms, of the rows and columns of its result, and of the number of workgroups along each axis. */
const [rowsWord, columnsWord] = [13, 14] as const
const gridWords = [16, 17, 18] as const

/**
 * Adds the sum to Gemm's WGSL source. The kernel reads the other summand through a binding of its own or, with `inPlace`, from the result's buffer,
 * because onnxruntime may add in place. Returns undefined if the source has an unknown form.
 */
function sumText(code: string, inPlace: boolean): string | undefined {
  const output = /^@group\(0\) @binding\((\d)\) var<storage, read_write> output: array<(.+)>;$/m.exec(code)
  const write = /^set_output_by_indices\(coords, (output_value_t\(value\)|value)\);$/gm
  const uniforms = /^@group\(0\) @binding\(\d\) var<uniform>/gm
  const [, place, type] = output ?? []
  if (place === undefined || type === undefined || code.match(write)?.length !== 1 || code.match(uniforms)?.length !== 1)
    return undefined
  const sum = code.includes('alias sum_t = ') ? 'sum_t' : 'output_value_t'
  const other = inPlace ? 'output' : 'other'
  const edited = code.replace(write, `value = value + ${sum}(${other}[i2o_output(coords)]);\n$&`)
  if (inPlace) return edited
  const next = Number(place) + 1
  return edited.replace(
    uniforms,
    `@group(0) @binding(${next}) var<storage, read> other: array<${type}>;\n@group(0) @binding(${next + 1}) var<uniform>`,
  )
}

const texts = new Map<string, string | undefined>()

function textOf(code: string, inPlace: boolean): string | undefined {
  const key = `${inPlace} ${code}`
  if (!texts.has(key)) texts.set(key, sumText(code, inPlace))
  return texts.get(key)
}

/** Whether a dispatch adds two values of the same size and of `count` numbers. */
function isSum({ kernel, uniforms }: Dispatch, count: number): boolean {
  return (
    kernel.label === 'Add' &&
    kernel.bindings === 'input_a,input_b,output' &&
    kernel.code.includes('let a = input_a[global_idx];\nlet b = input_b[global_idx];\noutput[global_idx]=a + b;') &&
    uniforms?.words[1] === count
  )
}

/** The type of the numbers of a kernel's last buffer. */
function elementOf({ kernel }: Dispatch): string | undefined {
  return /read_write> output: array<(?:vec4<)?(f16|f32)>/.exec(kernel.code)?.[1]
}

/** A Gemm and the sum that reads it. */
export const jointSum: Sequence = (held): Match | undefined => {
  const [product, sum] = held
  if (product?.uniforms === undefined || product.kernel.label !== 'Gemm' || !/^a,b,(?:c,)?output$/.test(product.kernel.bindings))
    return undefined
  if (sum === undefined) return { open: true }
  const { words, binding } = product.uniforms
  if (gridWords.map((word) => words[word]).join() !== product.grid.join()) return undefined
  const result = product.storage.at(-1)?.buffer
  const operand = [0, 1].filter((index) => bufferAt(sum, index) === result)
  const other = sum.storage[operand[0] === 0 ? 1 : 0]
  const output = sum.storage[2]
  const isWhole = isSum(sum, (words[rowsWord] ?? 0) * (words[columnsWord] ?? 0)) && elementOf(sum) === elementOf(product)
  if (held.length > 2 || operand.length !== 1 || !isWhole || other === undefined || output === undefined) return undefined
  const inputs = product.storage.slice(0, -1)
  const inPlace = other.buffer === output.buffer
  if (inPlace && (other.offset ?? 0) !== (output.offset ?? 0)) return undefined
  if (inputs.some(({ buffer }) => buffer === output.buffer)) return undefined
  const code = textOf(product.kernel.code, inPlace)
  if (code === undefined) return undefined
  const bindings = [...inputs, output, ...(inPlace ? [] : [other]), binding]
  const omitted = result === undefined || result === output.buffer ? [] : [result]
  return { open: false, launch: { label: 'Gemm and sum', code, bindings, grid: product.grid, omitted } }
}
