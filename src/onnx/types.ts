/**
 * The contract between the networks that write graphs and the runtime that runs them. A component is a chain of stages. A stage is one use of a
 * program, and says where its inputs and weights come from. A program is a graph without weights; blocks of the same structure share one.
 */

/** Element types of graph values, with onnxruntime's names. */
export type ElementType = 'float32' | 'float16' | 'int64' | 'int32' | 'uint8' | 'bool'

/** A named value with a fixed shape. */
export interface ValueInfo {
  readonly name: string
  readonly type: ElementType
  readonly dims: readonly number[]
}

/** A weight of a program. */
export interface WeightInfo extends ValueInfo {
  /**
   * Its buffer has the axes of [out, in, rows, columns] in the order [rows, columns, in, out], because only convolutions read it. Absent:
   * it has the checkpoint's order.
   */
  readonly channelsLast?: true | undefined
}

/** A compiled unit: one ONNX model whose weights are graph inputs or external initializers. */
export interface Program {
  /** Equal for programs with equal bytes. Programs with equal keys share a session. */
  readonly key: string
  /** The encoded ModelProto. */
  readonly model: Uint8Array<ArrayBuffer>
  readonly inputs: readonly ValueInfo[]
  /** The weights, by their names in this graph. As initializers, each is external data whose location is its name. */
  readonly weights: readonly WeightInfo[]
  readonly outputs: readonly ValueInfo[]
  /** The estimated bytes of values that it needs at once while it runs, besides its inputs, weights and outputs. */
  readonly activationBytes: number
  /** The largest value that it computes, by its name in the graph. A single buffer of the device must be able to contain it. */
  readonly largestValue: { readonly name: string; readonly bytes: number }
}

/** One use of a program inside a component. */
export interface Stage {
  /** For example `down_blocks.0.resnets.0`. */
  readonly name: string
  readonly program: Program
  /** Program input name → component value name. */
  readonly inputs: Readonly<Record<string, string>>
  /** Program weight name → tensor name in the weight table. */
  readonly weights: Readonly<Record<string, string>>
  /** Program output name → component value name. */
  readonly outputs: Readonly<Record<string, string>>
  /**
   * Whether its results depend only on inputs that stay the same from run to run, such as the prompt's. A caller can then keep them (`KeptValues` of
   * runtime/). Such stages come first. Absent: it runs each time.
   */
  readonly once?: true | undefined
}

/** A whole component for one set of shapes: its stages in the order in which they run. */
export interface ComponentGraph {
  readonly stages: readonly Stage[]
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
}

/** Options for writing a network's graph. */
export interface WriteOptions {
  /** The type that weights and activations have in the graph. */
  readonly dtype: 'float32' | 'float16'
  /** `input`: weights are graph inputs (WebGPU); `initializer`: external initializers (wasm). */
  readonly weights: 'input' | 'initializer'
  /** Whether GEGLU is one kernel, BiasSplitGelu. Absent: it is not. */
  readonly fusesGeglu?: boolean | undefined
  /**
   * The device's kernel of InstanceNormalization reads its bias as the epsilon times this number. Absent: it reads the epsilon from the
   * attribute.
   */
  readonly epsilonInBias?: number | undefined
  /** Whether the buffers of weights that only convolutions read have channels last, as the device's kernels read them. Absent: they do not. */
  readonly channelsLastWeights?: boolean | undefined
  /**
   * The heads of an attention are filled with zeros up to a multiple of this number, because the device's kernel that is both exact and
   * fast accepts no other sizes. Absent: they are not.
   */
  readonly headSizesOf?: number | undefined
  /** Whether InstanceNormalization of long rows is written as sums of parts, because the device adds up a row in one float32 number. Absent: it is not. */
  readonly sumsInParts?: boolean | undefined
  /** `component`: one program for everything; `block`: one stage for each block, and equal blocks share a program. */
  readonly granularity: 'component' | 'block'
  /**
   * Says, by parameter name, which Linear weights are quantized; if absent, none is. A Linear with a quantized weight is written as
   * MatMulNBits.
   */
  readonly quantized?: QuantizedWeights | undefined
  /** The branches of adapters (LoRA and its relatives) beside each Linear and convolution; if absent, there are none. */
  readonly adapters?: Adapters | undefined
}

/** A matrix of a Kronecker product: whole, or the product of two matrices, [rows, rank] and [rank, columns]. */
export interface KroneckerFactor {
  readonly rows: number
  readonly columns: number
  readonly rank?: number | undefined
}

/** How the change of a layer's weight is written in the tensors of an adapter. */
export type AdapterForm =
  /**
   * LoRA: B·A. With `magnitude` (DoRA), the rows of the changed weight are scaled to the L2 norms in the adapter's magnitude vector
   * (`stored`), or to those of the layer's own weight (`own`). With `bias`, the branch also adds a vector.
   */
  | {
      readonly kind: 'low-rank'
      readonly rank: number
      readonly magnitude?: 'stored' | 'own' | undefined
      readonly bias?: boolean | undefined
    }
  /** LoHa: the element-wise product of two matrix products of this rank. */
  | { readonly kind: 'hadamard'; readonly rank: number }
  /**
   * LoKr: the Kronecker product of two matrices. The change of the layer's weight consists of the rows of the product from `firstRow` on.
   */
  | {
      readonly kind: 'kronecker'
      readonly left: KroneckerFactor
      readonly right: KroneckerFactor
      readonly firstRow: number
    }

/**
 * A branch beside a Linear or a convolution, as adapters train them: the product of the layer's input with the change of the layer's
 * weight, times `scale`, is added to the layer's output. The tensors of an adapter are weights of the graph, named `<layer>.<part>.<id>`.
 */
export interface AdapterBranch {
  /** Identifies the adapter, in names of weights. */
  readonly id: number
  /** The component's input with the scale, [1]. Layers with equal scales share one. */
  readonly scale: string
  readonly form: AdapterForm
}

/** Returns the branches beside the layer with this name, whose weight has this shape: [out, in], or [out, in, rows, columns]. */
export type Adapters = (layer: string, weight: readonly number[]) => readonly AdapterBranch[]

/** Returns the shape of a quantized weight's codes, for a Linear weight [N, K] that is quantized blockwise along K; undefined if it is not quantized. */
export type QuantizedWeights = (parameter: string) => QuantizedShape | undefined

/**
 * A quantized weight in MatMulNBits' layout: codes `<x>.weight` uint8 [N, K / blockSize, blockSize · bits / 8], scales
 * `<x>.weight_scale` [N, K / blockSize], and optional zero points `<x>.weight_zero_point` uint8 [N, ceil(K / blockSize · bits / 8)].
 */
export interface QuantizedShape {
  readonly codes: readonly [number, number, number]
  readonly zeroPoints: boolean
}

/** Shapes of a component's inputs, by input name. */
export type Shapes = Readonly<Record<string, readonly number[]>>
