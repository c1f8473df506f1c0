/**
 * Runs a Gemm or a layer norm, and the kernels that compute with its result element by element, as one dispatch. These kernels are a
 * residual sum, the product with a gate, the factor and the summand of a modulated norm, Gelu, and a Cast. The kernel of the Gemm or norm
 * is edited to compute them in float32 before it writes its result. It does not write the intermediate results, because nothing else in a
 * graph of this library reads them (models/joint-steps.test.ts). A run fails if another kernel reads one.
 *
 * Workgroups and tiles are those of the Gemm or norm; a Gemm can get larger tiles (product-tiles.ts). The products of a Gemm still take
 * almost all of its time. A norm's time is that of its memory accesses, and one dispatch needs fewer of them.
 */

import type { Dispatch, Match, Sequence } from './dispatch.js'
import { stepOf, stepsText, type RowsSize, type Step, type Stepped } from './elementwise-steps.js'
import { inTiles, isProduct, sizeOf } from './product-tiles.js'

/** A kernel that can apply steps to its result: a Gemm or a layer norm. */
interface Producer {
  readonly size: RowsSize
  /** The name of the buffer that it writes its result to. */
  readonly result: 'output' | 'y'
  /** Returns its source with `statements`, which change the variable `stepped`; the kernel then writes `stepped` in the type `written`. Undefined if the source has an unknown form. */
  readonly edit: (
    code: string,
    text: (value: Stepped) => { functions: string; statements: string },
    written: string,
  ) => string | undefined
}

function replaceOnce(code: string, find: RegExp, by: string): string | undefined {
  return code.match(new RegExp(find, 'gm'))?.length === 1 ? code.replace(new RegExp(find, 'm'), by) : undefined
}

/** In Gemm's source, the result is `value` (a number or a vector) at `coords`. */
const editProduct: Producer['edit'] = (code, text, written) => {
  const [alias, vector, stored = ''] = /^alias output_value_t = (vec4<)?(f\d\d)>?;$/m.exec(code) ?? []
  if (alias === undefined) return undefined
  const type = vector === undefined ? 'f32' : 'vec4<f32>'
  const place = { index: 'i2o_output(coords)', row: 'coords.x', column: 'coords.y', vectors: 'uniforms.output_stride' }
  const { functions, statements } = text({ type, stored, ...place })
  const write = /^set_output_by_indices\(coords, (?:output_value_t\(value\)|value)\);$/
  const body = /^ *output\[i2o_output\(indices\)\]=value;\n/
  const result = type === 'f32' ? written : `vec4<${written}>`
  const without = replaceOnce(code, body, '')
  const done =
    without &&
    replaceOnce(without, write, `var stepped = ${type}(value);\n${statements}\noutput[i2o_output(coords)] = ${result}(stepped);`)
  return done?.replace('@compute', () => `${functions}\n@compute`)
}

/** The source of LayerNorm, which also computes SimplifiedLayerNormalization, writes the input to the result's buffer first, and then the result. */
const editNorm: Producer['edit'] = (code, text, written) => {
  const [alias, vector] = /^alias f32_val_t = (vec4<)?f32>?;$/m.exec(code) ?? []
  const [, stored] = /var<storage, read_write> y: array<(?:vec4<)?(f\d\d)>?>;/.exec(code) ?? []
  if (alias === undefined || stored === undefined) return undefined
  const type = vector === undefined ? 'f32' : 'vec4<f32>'
  const place = { index: '(offset + i)', row: 'iy', column: '(offset1d + i)', vectors: 'norm_size_vectorized' }
  const { functions, statements } = text({ type, stored, ...place })
  const write = /^ *y\[offset \+ i\] = .*\binv_std_dev\).*;$|^ *y\[offset \+ i\] = .*\* inv_std_dev \*.*;$/
  const [formula] = new RegExp(write, 'm').exec(code) ?? []
  if (formula === undefined) return undefined
  const mean = /\bmean\b/.test(formula) ? ' - mean' : ''
  const bias = formula.includes('bias[') ? ' + f32_val_t(bias[offset1d + i])' : ''
  const result = type === 'f32' ? written : `vec4<${written}>`
  const value = `(f32_val_t(x[offset + i])${mean}) * inv_std_dev * f32_val_t(scale[offset1d + i])${bias}`
  const without = replaceOnce(code, /^ *y\[offset \+ i\] = input_value;\n/, '')
  const done =
    without && replaceOnce(without, write, `var stepped = ${value};\n${statements}\ny[offset + i] = ${result}(stepped);`)
  return done?.replace('@compute', () => `${functions}\n@compute`)
}

function producerOf(dispatch: Dispatch | undefined): Producer | undefined {
  if (isProduct(dispatch)) return { size: sizeOf(dispatch), result: 'output', edit: editProduct }
  if (dispatch?.kernel.label !== 'LayerNorm' || !/^x,scale,(?:bias,)?y$/.test(dispatch.kernel.bindings)) return undefined
  const [, rows, columns] = dispatch.uniforms?.words ?? []
  return rows === undefined || columns === undefined ? undefined : { size: { rows, columns }, result: 'y', edit: editNorm }
}

const texts = new Map<string, string | undefined>()

/** The WGSL source of a producer with the steps after it. */
function textOf(
  { code }: Dispatch['kernel'],
  { result, edit }: Producer,
  steps: readonly Step[],
  isInPlace: boolean,
): string | undefined {
  const ownBuffer = isInPlace ? steps.at(-1)?.result.buffer : undefined
  const ownOperand = steps.findIndex(({ operand }) => operand !== undefined && operand.binding.buffer === ownBuffer)
  const key = [ownOperand, ...steps.map((step) => `${step.key} ${step.type}`), code].join('\n')
  if (!texts.has(key)) {
    const written = steps.at(-1)?.type ?? ''
    const edited = edit(code, (value) => stepsText(steps, value, isInPlace ? result : undefined), written)
    texts.set(key, edited && withBindings(edited, result, steps, isInPlace, written))
  }
  return texts.get(key)
}

/** Declares the result in the type `written`, then the operands of the steps, then the uniforms. */
function withBindings(
  code: string,
  result: string,
  steps: readonly Step[],
  isInPlace: boolean,
  written: string,
): string | undefined {
  const declaration = new RegExp(
    `^@group\\(0\\) @binding\\((\\d)\\) var<storage, read_write> ${result}: array<(vec4<)?f\\d\\d>?>;$`,
  )
  const [, place, vector] = new RegExp(declaration, 'm').exec(code) ?? []
  const uniforms = /^@group\(0\) @binding\(\d\) var<uniform> uniforms: Uniforms;$/
  if (place === undefined) return undefined
  const array = (type: string) => (vector === undefined ? `array<${type}>` : `array<vec4<${type}>>`)
  let next = Number(place)
  const lines = [`@group(0) @binding(${next++}) var<storage, read_write> ${result}: ${array(written)};`]
  const ownBuffer = steps.at(-1)?.result.buffer
  for (const [i, { operand }] of steps.entries()) {
    if (operand === undefined || (isInPlace && operand.binding.buffer === ownBuffer)) continue
    const type = operand.extent === 'number' ? `array<${operand.type}>` : array(operand.type)
    lines.push(`@group(0) @binding(${next++}) var<storage, read> operand${i}: ${type};`)
  }
  const after = [`@group(0) @binding(${next++}) var<uniform> uniforms: Uniforms;`]
  for (const [i, { sizes }] of steps.entries())
    if (sizes !== undefined)
      after.push(`struct Sizes${i} { shape: vec3<u32> };\n@group(0) @binding(${next++}) var<uniform> sizes${i}: Sizes${i};`)
  const declared = replaceOnce(code, declaration, lines.join('\n'))
  const bound = declared && replaceOnce(declared, uniforms, after.join('\n'))
  const types = [written, ...steps.map(({ operand }) => operand?.type)]
  return bound !== undefined && types.includes('f16') && !bound.startsWith('enable f16;') ? `enable f16;\n${bound}` : bound
}

/** Recognizes a Gemm or a layer norm, and the steps on its result. */
export const jointSteps: Sequence = (held, limits): Match | undefined => {
  const [first, ...others] = held
  const producer = producerOf(first)
  if (first?.uniforms === undefined || producer === undefined) return undefined
  if (others.length === 0) return { open: true }
  const { kernel, storage, uniforms } = first
  const inputs = storage.slice(0, -1)
  let value = storage.at(-1)
  const steps: Step[] = []
  const between: GPUBuffer[] = []
  for (const dispatch of others) {
    if (value === undefined) return undefined
    between.push(value.buffer)
    const step = stepOf(dispatch, value.buffer, producer.size)
    if (step === undefined) return undefined
    // An operand must not be an intermediate result of this sequence, because these are not written to their buffers.
    if (step.operand !== undefined && between.includes(step.operand.binding.buffer)) return undefined
    steps.push(step)
    value = step.result
  }
  const output = value
  const operands = steps.flatMap(({ operand }) => operand ?? [])
  const same = operands.filter(({ binding }) => binding.buffer === output?.buffer)
  const isInPlace = same.length === 1
  const [shared] = same
  const open = true
  if (output === undefined || same.length > 1 || inputs.some(({ buffer }) => buffer === output.buffer)) return { open }
  if (shared !== undefined) {
    const isSame =
      (shared.binding.offset ?? 0) === (output.offset ?? 0) && shared.extent === 'value' && shared.type === steps.at(-1)?.type
    if (!isSame) return { open }
  }
  const code = textOf(kernel, producer, steps, isInPlace)
  if (code === undefined) return { open }
  const read = operands.flatMap(({ binding }) => (isInPlace && binding.buffer === output.buffer ? [] : [binding]))
  const sizes = steps.flatMap((step) => step.sizes ?? [])
  if (inputs.length + 1 + read.length > limits.maxStorageBuffersPerShaderStage) return { open }
  const bindings = [...inputs, output, ...read, uniforms.binding, ...sizes]
  const omitted = between.filter((buffer) => buffer !== output.buffer)
  const tiles = isProduct(first) ? inTiles(first, code) : { code, grid: first.grid }
  return { open, launch: { label: `${kernel.label} and steps`, bindings, omitted, ...tiles } }
}
