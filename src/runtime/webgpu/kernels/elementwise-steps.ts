/**
 * Converts dispatches of onnxruntime's element-wise kernels into steps: WGSL code that another kernel runs on its result before it writes
 * the result. The element-wise kernels are Cast, Gelu, and Mul and Add with a number, a row, a row for each image of a batch, or a tensor
 * of the same size.
 */

import { bufferAt, type CompiledKernel, type Dispatch } from './dispatch.js'

/** The size of a tensor: its number of rows, and of numbers in each row. */
export interface RowsSize {
  readonly rows: number
  readonly columns: number
}

/** What an operand is: one number, one row, a row for each image of a batch, or a tensor of the same size. */
type Extent = 'number' | 'row' | 'row of an image' | 'value'

/** One kernel, as a step. */
export interface Step {
  /** Identifies the step's WGSL code: equal keys mean equal code. */
  readonly key: string
  /** What the step reads besides the value. */
  readonly operand: { readonly binding: GPUBufferBinding; readonly type: string; readonly extent: Extent } | undefined
  /** The uniforms of the kernel, which begin with the sizes [batch, rows, columns]. Undefined unless the operand is one row per image. */
  readonly sizes: GPUBufferBinding | undefined
  /** Functions that {@link expression} calls. */
  readonly functions: string
  /** The WGSL expression of the result: `a` stands for the value, `b` for the operand. */
  readonly expression: string
  readonly result: GPUBufferBinding
  /** The type of the result's numbers. */
  readonly type: string
}

/** What the source of a kernel declares: the float types of its buffers, and the position of each field in its uniforms. */
interface Declarations {
  readonly types: ReadonlyMap<string, string>
  readonly fields: ReadonlyMap<string, { readonly at: number; readonly count: number }>
}

/** Each source is read only once, because runs dispatch the same kernels thousands of times. */
const declarations = new WeakMap<CompiledKernel, Declarations>()

function declarationsOf(kernel: CompiledKernel): Declarations {
  const known = declarations.get(kernel)
  if (known !== undefined) return known
  const buffers = kernel.code.matchAll(/@binding\(\d+\) var<storage, \w+> (\w+): array<(?:vec\d<)?(f16|f32)>{1,2};/g)
  const types = new Map([...buffers].map(([, name = '', type = '']) => [name, type]))
  const struct = /^struct Uniforms \{\n([^}]*)\};$/m.exec(kernel.code)?.[1] ?? ''
  const fields = new Map<string, { at: number; count: number }>()
  let end = 0
  for (const [, name = '', vector, type] of struct.matchAll(/^ *(\w+): (?:vec(\d)<)?(\w+)>?,?$/gm)) {
    // The positions of fields after a field of another type are unknown.
    if (type !== 'u32' && type !== 'f32') break
    const count = vector === undefined ? 1 : Number(vector)
    const alignment = count === 3 ? 4 : count
    const at = Math.ceil(end / alignment) * alignment
    fields.set(name, { at, count })
    end = at + count
  }
  const found = { types, fields }
  declarations.set(kernel, found)
  return found
}

/** The type of a buffer's numbers. */
function elementType(kernel: CompiledKernel, buffer: string): string | undefined {
  return declarationsOf(kernel).types.get(buffer)
}

/** The values of a field of a dispatch's uniforms; undefined if it has no such field. */
function uniform({ kernel, uniforms }: Dispatch, name: string): readonly number[] | undefined {
  const field = declarationsOf(kernel).fields.get(name)
  return field && uniforms && [...uniforms.words.subarray(field.at, field.at + field.count)]
}

/** The extent of an operand whose shape is `operand`, for a tensor of `shape`; undefined if it is none of {@link Extent}'s. */
function extentOf(operand: readonly number[], shape: readonly number[], columns: number): Extent | undefined {
  const dims = [...shape.map(() => 1), ...operand].slice(-shape.length)
  const [last, ...before] = dims.toReversed()
  if (dims.join() === shape.join()) return 'value'
  if (last !== columns || last !== shape.at(-1)) return undefined
  if (before.every((dim) => dim === 1)) return 'row'
  return shape.length === 3 && dims[0] === shape[0] && dims[1] === 1 ? 'row of an image' : undefined
}

/**
 * Reads a dispatch as a Mul or an Add of the value and another operand. In a Mul the value must be the first operand: in this library's
 * graphs, a value that is the second operand has other readers too.
 */
function binaryStep(dispatch: Dispatch, value: GPUBuffer, { rows, columns }: RowsSize): Step | undefined {
  const { kernel, storage, uniforms } = dispatch
  const { label, code } = kernel
  const operator = label === 'Mul' ? '*' : label === 'Add' ? '+' : undefined
  if (operator === undefined || kernel.bindings !== 'input_a,input_b,output' || uniforms === undefined) return undefined
  if (!code.includes(`\noutput[global_idx]=a ${operator} b;\n`)) return undefined
  const places = [0, 1].filter((index) => bufferAt(dispatch, index) === value)
  const [place] = places
  if (place === undefined || places.length > 1 || (label === 'Mul' && place !== 0)) return undefined
  const [own, other] = place === 0 ? (['a', 'b'] as const) : (['b', 'a'] as const)
  if (uniform(dispatch, 'element_count')?.[0] !== rows * columns) return undefined
  const shape = uniform(dispatch, 'bcast_indices_shape')
  let extent: Extent | undefined
  if (code.includes('let a = input_a[global_idx];\n')) {
    if (code.includes('let b = input_b[global_idx];\n')) extent = 'value'
    else if (place === 0 && /let b = (?:input_b_value_t\()?input_b\[0\](?:\.x\))?;\n/.test(code)) extent = 'number'
  } else if (shape !== undefined) {
    // An operand without sizes of its own is as large as the result.
    const [mine, given] = [own, other].map((name) => uniform(dispatch, `${name}_indices_shape`) ?? shape)
    if (mine?.join() === shape.join() && given !== undefined) extent = extentOf(given, shape, columns)
  }
  const binding = storage[1 - place]
  const [operandType, type] = [elementType(kernel, `input_${other}`), elementType(kernel, 'output')]
  const result = storage[2]
  if (extent === undefined || binding === undefined || result === undefined) return undefined
  if (operandType === undefined || type === undefined) return undefined
  return {
    key: `${operator} ${extent} ${operandType}`,
    operand: { binding, type: operandType, extent },
    sizes: extent === 'row of an image' ? uniforms.binding : undefined,
    functions: '',
    expression: `a ${operator} b`,
    result,
    type,
  }
}

/** Reads a dispatch as a Cast or a Gelu of the value. */
function unaryStep(dispatch: Dispatch, value: GPUBuffer, { rows, columns }: RowsSize): Step | undefined {
  const { kernel, storage, uniforms } = dispatch
  if (kernel.bindings !== 'x,y' || bufferAt(dispatch, 0) !== value || uniforms === undefined) return undefined
  const [vectors] = uniform(dispatch, 'vec_size') ?? []
  const type = elementType(kernel, 'y')
  const result = storage[1]
  if (vectors === undefined || result === undefined || type === undefined || elementType(kernel, 'x') === undefined)
    return undefined
  if (kernel.label === 'Cast') {
    const [count] = uniform(dispatch, 'output_size') ?? []
    const isWhole =
      count === rows * columns && /let a = x\[global_idx\];\n *y\[global_idx\]=vec4<f\d\d>\(a\);\n/.test(kernel.code)
    if (!isWhole) return undefined
    return { key: `cast ${type}`, operand: undefined, sizes: undefined, functions: '', expression: 'a', result, type }
  }
  const expression = /^ *y\[global_idx\]=(?:vec4<f16>\((a .+|0\.5 .+)\)|(a .+|0\.5 .+));$/m.exec(kernel.code)
  const formula = expression?.[1] ?? expression?.[2]
  if (kernel.label !== 'Gelu' || formula === undefined || 4 * vectors !== rows * columns) return undefined
  const called = /^const r\d = [-\d.]+;\n|^fn \w+_v\(.+\) -> x_value_t \{\n[^}]*\}\n/gm
  const functions = [...kernel.code.matchAll(called)].map(([text]) => text).join('')
  return { key: formula, operand: undefined, sizes: undefined, functions, expression: formula, result, type }
}

/** Parses a dispatch as a step on `value`; undefined if it is not one. For values that no other dispatch reads: the step replaces the dispatch. */
export function stepOf(dispatch: Dispatch, value: GPUBuffer, size: RowsSize): Step | undefined {
  return unaryStep(dispatch, value, size) ?? binaryStep(dispatch, value, size)
}

/** WGSL expressions for the place of an element in a kernel: its index in vectors, its row, its column in vectors, and the number of vectors in a row. */
interface Place {
  readonly index: string
  readonly row: string
  readonly column: string
  readonly vectors: string
}

/** The value that the first step changes. */
export interface Stepped extends Place {
  /** The WGSL type in which it is computed: `f32` or a vector of 4. */
  readonly type: string
  /** The number type in which onnxruntime's kernel stores the value when no step follows. */
  readonly stored: string
}

/**
 * The WGSL of several steps. Each intermediate result is rounded to its type, so the bits are those of separate kernels. There is one
 * exception: if the first step adds a tensor of the same size, the value is not rounded before this step. `own`: the name of the buffer of
 * the kernel's result, if a step reads its operand from this buffer.
 */
export function stepsText(
  steps: readonly Step[],
  { type, stored, index, row, column, vectors }: Stepped,
  own: string | undefined,
): { readonly functions: string; readonly statements: string } {
  const functions: string[] = []
  const statements: string[] = []
  for (const [i, { operand, functions: called, expression }] of steps.entries()) {
    const renamed = (text: string) =>
      text.replaceAll(/\b(?:\w+_v(?=\()|r\d\b)/g, (name) => `${name}_${i}`).replaceAll('x_value_t', type)
    if (called !== '') functions.push(renamed(called))
    const before = steps[i - 1]?.type ?? stored
    if (before === 'f16' && !(i === 0 && operand?.extent === 'value' && expression === 'a + b'))
      statements.push(`stepped = ${type}(${type.replace('f32', 'f16')}(stepped));`)
    if (operand === undefined) {
      functions.push(`fn step${i}(a: ${type}) -> ${type} { return ${renamed(expression)}; }\n`)
      statements.push(`stepped = step${i}(stepped);`)
      continue
    }
    const at = {
      number: '0',
      row: column,
      'row of an image': `${row} / sizes${i}.shape.y * ${vectors} + ${column}`,
      value: index,
    }[operand.extent]
    const name = operand.binding.buffer === steps.at(-1)?.result.buffer && own !== undefined ? own : `operand${i}`
    functions.push(`fn step${i}(a: ${type}, b: ${type}) -> ${type} { return ${expression}; }\n`)
    const read = operand.extent === 'number' ? `f32(${name}[${at}])` : `${name}[${at}]`
    statements.push(`stepped = step${i}(stepped, ${type}(${read}));`)
  }
  return { functions: functions.join(''), statements: statements.join('\n') }
}
