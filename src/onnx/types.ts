/**
 * What the writer hands over: a component as a chain of programs. A program is a graph without weights; a stage is one use of a
 * program, which says where its inputs and weights come from. Blocks of one shape are stages of one program.
 */

/** Element types of graph values, by onnxruntime's names. */
export type ElementType = 'float32' | 'float16' | 'int64' | 'int32' | 'uint8' | 'bool'

/** A named value with a fixed shape. */
export interface ValueInfo {
  readonly name: string
  readonly type: ElementType
  readonly dims: readonly number[]
}

/** A compiled unit: one ONNX model whose weights are graph inputs or external initializers. */
export interface Program {
  /** Equal for programs with equal bytes: sessions are shared by it. */
  readonly key: string
  /** The encoded ModelProto. */
  readonly model: Uint8Array<ArrayBuffer>
  readonly inputs: readonly ValueInfo[]
  /** The weights, by their names in this graph. With initializers each is external data at a location equal to its name. */
  readonly weights: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
  /** About how many bytes of values it holds at once while it runs, beside its inputs, weights and outputs. */
  readonly activationBytes: number
  /** The largest of the values that it makes, by its name in the graph: a device's buffer must hold it. */
  readonly largestValue: { readonly name: string; readonly bytes: number }
}

/** One use of a program inside a component. */
export interface Stage {
  /** Such as `down_blocks.0.resnets.0`. */
  readonly name: string
  readonly program: Program
  /** Program input name → component value name. */
  readonly inputs: Readonly<Record<string, string>>
  /** Program weight name → tensor name in the weight table. */
  readonly weights: Readonly<Record<string, string>>
  /** Program output name → component value name. */
  readonly outputs: Readonly<Record<string, string>>
}

/** A whole component for one set of shapes: stages in the order they run. */
export interface ComponentGraph {
  readonly stages: readonly Stage[]
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
}

/** How a model's graph is to be written. */
export interface WriteOptions {
  /** The type that weights and activations have in the graph. */
  readonly dtype: 'float32' | 'float16'
  /** `input`: weights are graph inputs (WebGPU); `initializer`: external initializers (wasm). */
  readonly weights: 'input' | 'initializer'
  /** `component`: one program for all; `block`: one stage for each block, equal blocks share a program. */
  readonly granularity: 'component' | 'block'
  /** Which Linear weights are quantised, by parameter name; none when absent. Their graphs use MatMulNBits. */
  readonly quantized?: QuantizedWeights | undefined
}

/** The codes' shape of a Linear weight [N, K] that is quantised blockwise along K; undefined where the weight is not. */
export type QuantizedWeights = (parameter: string) => QuantizedShape | undefined

/**
 * A quantised weight as MatMulNBits takes it: codes `<x>.weight` uint8 [N, K / blockSize, blockSize · bits / 8], scales
 * `<x>.weight_scale` [N, K / blockSize], and maybe zero points `<x>.weight_zero_point` uint8 [N, ceil(K / blockSize · bits / 8)].
 */
export interface QuantizedShape {
  readonly codes: readonly [number, number, number]
  readonly zeroPoints: boolean
}

/** Shapes of a component's inputs, by input name. */
export type Shapes = Readonly<Record<string, readonly number[]>>
