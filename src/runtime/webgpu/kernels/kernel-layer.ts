/**
 * Changes onnxruntime's kernels on a device before they are compiled: those in float16, and those that compute a variance. onnxruntime
 * compiles with `createShaderModule` of the GPUDevice that it is given, and the device is ours. The kernels are those of release 1.30.0,
 * which onnxruntime.ts requires. A kernel that is not recognized stays as onnxruntime has it, and is reported; for the kernels of
 * `required`, an error is thrown.
 */

import type { KernelReport, KernelSource } from '../../../memory/device-info.js'
import { attentions } from './attention.js'
import { replaceSequences } from './dispatch-stream.js'
import { jointAttention } from './joint-attention.js'
import { jointGroupNorm } from './joint-group-norm.js'
import { jointProducts } from './joint-products.js'
import { jointSteps } from './joint-steps.js'
import { applyEdits, type KernelEdits } from './kernel-edit.js'
import { matrixProducts } from './matrix-products.js'
import { normalizations } from './normalizations.js'
import { largerProduct } from './product-tiles.js'
import { quantizedProducts } from './quantized-products.js'
import { subtractsSquares, variances } from './variances.js'

const float16Kernels: readonly KernelEdits[] = [...matrixProducts, ...quantizedProducts, ...attentions, ...normalizations]

/** float16 kernels that move values, or round each result once: as exact as float16 can be. */
const exact: ReadonlySet<string> = new Set(
  `Add BiasAdd Cast Concat CopyKVCache Expand Gather Mul Relu ResizeNearest ResizeNearest2D
  ResizeNearestImpl Slice Split Sub ToChannelsLast Transpose`.split(/\s+/),
)

/** Kernels whose inputs are written for the changed text: onnxruntime's own text would compute other values. */
const required: ReadonlySet<string> = new Set(['ComputeChannelScaleShift'])

/**
 * The text to compile for a kernel, and whether it was changed.
 *
 * @throws Error if a kernel that has to be changed has an unknown text
 */
export function rewriteKernel(label: string, code: string): { readonly code: string; readonly outcome: Outcome } {
  const rewritten = rewrite(label, code)
  if (required.has(label) && rewritten.outcome !== 'replaced')
    throw new Error(
      `onnxruntime’s kernel ${label} has another text than in release 1.30.0, and a picture made with it would be wrong`,
    )
  return rewritten
}

function rewrite(label: string, code: string): { readonly code: string; readonly outcome: Outcome } {
  const changes: (readonly KernelEdits[])[] = []
  if (subtractsSquares.test(code)) changes.push(variances)
  if (/^enable f16;/m.test(code) && !exact.has(label)) changes.push(float16Kernels)
  let text = code
  for (const kernels of changes) {
    const edited = kernels
      .filter((kernel) => kernel.label === label)
      .map((kernel) => applyEdits(text, kernel))
      .find((each) => each !== undefined)
    if (edited === undefined) return { code, outcome: 'unrecognized' }
    text = edited
  }
  return { code: text, outcome: changes.length > 0 ? 'replaced' : 'kept' }
}

/** `kept`: there is nothing to change. */
type Outcome = 'kept' | 'replaced' | 'unrecognized'

/** Kernels that are changed in any case: in float16, onnxruntime's texts do not compile. */
const broken: ReadonlySet<string> = new Set(['BiasSplitGelu'])

/**
 * Changes the kernels that onnxruntime compiles on `gpu` from now on, and returns a report that grows with them. With `source`
 * `onnxruntime`, only kernels that would not compile are changed.
 */
export function installKernels(gpu: GPUDevice, source: KernelSource): KernelReport {
  const found = { replaced: new Set<string>(), unrecognized: new Set<string>() }
  // Replace sequences first: it replaces `createShaderModule` too, and its replacement must receive the changed texts.
  const sequences = source === 'aquatint' ? [jointAttention, jointProducts, jointSteps, jointGroupNorm, largerProduct] : []
  replaceSequences(gpu, sequences, (label) => found.replaced.add(label))
  const compile = gpu.createShaderModule.bind(gpu)
  gpu.createShaderModule = (descriptor) => {
    const { label = '' } = descriptor
    if (source === 'onnxruntime' && !broken.has(label)) return compile(descriptor)
    const { code, outcome } = rewriteKernel(label, descriptor.code)
    if (outcome !== 'kept') found[outcome].add(label)
    return compile({ ...descriptor, code })
  }
  return {
    source,
    get replaced() {
      return [...found.replaced]
    },
    get unrecognized() {
      return [...found.unrecognized]
    },
  }
}
