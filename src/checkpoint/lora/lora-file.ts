/**
 * Reads the header of a LoRA file: the branches and the metadata. lora-scalings.ts reads the alphas; the code that loads a network reads
 * the factors.
 */

import { CheckpointError, UnsupportedError } from '../../errors.js'
import type { ByteSource, ReadOptions } from '../../hub/types.js'
import { readSafetensorsHeader, type TensorHeader } from '../safetensors.js'
import { readBranch, type ReadBranch } from './lora-forms.js'
import { parseLoraKey, type BranchTensor, type LoraComponent } from './lora-keys.js'

/** One branch of a file: the change of one layer of one component. */
export interface LoraModule extends ReadBranch {
  readonly component: LoraComponent
  /** The layer as the file names it: see {@link LoraKey}. */
  readonly layer: string
  /** The tensor that messages name. */
  readonly first: TensorHeader
  /** The tensor with the branch's alpha, where the file has one. */
  readonly alpha: TensorHeader | undefined
}

/** The content of a LoRA file's header. */
export interface LoraFile {
  readonly modules: readonly LoraModule[]
  readonly metadata: ReadonlyMap<string, string>
  /** DoRA's magnitudes that Aquatint ignores because diffusers ignores them: those in LyCORIS' form, and some of text encoders. */
  readonly ignoredDora: readonly string[]
  /** Changes of biases and norms. diffusers ignores them for FLUX.1, and refuses them for other models. */
  readonly ignored: readonly string[]
}

interface Found {
  readonly component: LoraComponent
  readonly layer: string
  readonly tensors: Map<BranchTensor, TensorHeader>
  alpha?: TensorHeader
}

/**
 * Reads the header, and checks that the file is a LoRA.
 * @throws CheckpointError `safetensors-*`, `not-a-lora`, `shape-mismatch`, `dtype-mismatch`; UnsupportedError `lora-method`
 */
export async function readLoraFile(source: ByteSource, file: string, options: ReadOptions = {}): Promise<LoraFile> {
  const { tensors, metadata } = await readSafetensorsHeader(source, file, options)
  const { found, ignored, ignoredDora } = groupTensors(tensors, file)
  const modules = found.flatMap((own): LoraModule[] => {
    const { component, layer, alpha } = own
    const branch = readBranch(own.tensors, file, `${layer} of ${component}`)
    const first = own.tensors.get('lora_A') ?? [...own.tensors.values()][0]
    return first === undefined ? [] : [{ ...branch, component, layer, first, alpha }]
  })
  const { modules: changed, lost } = withLengths(modules, file)
  return { modules: changed, metadata, ignored, ignoredDora: [...ignoredDora, ...lost] }
}

/**
 * Applies DoRA as diffusers 0.42 does. If a component has a magnitude in any branch, all its low-rank branches become DoRA branches: one without a magnitude
 * gets the lengths of the rows of the layer's own weight. diffusers does not find a text encoder's magnitude if its name does not end in `.weight`: `lost` lists these.
 */
function withLengths(
  modules: readonly LoraModule[],
  file: string,
): {
  readonly modules: readonly LoraModule[]
  readonly lost: readonly string[]
} {
  const dora = new Set(modules.flatMap(({ component, tensors }) => (tensors.has('lora_magnitude_vector') ? component : [])))
  const lost: string[] = []
  const changed = modules.map((module) => {
    const { component, form } = module
    if (form.kind !== 'low-rank' || !dora.has(component)) return module
    const bias = module.tensors.get('lora_B_bias')
    if (bias !== undefined) throw unsupportedMethod(file, bias.name)
    const magnitude = module.tensors.get('lora_magnitude_vector')
    if (magnitude !== undefined && (component === 'denoiser' || magnitude.name.endsWith('.weight'))) return module
    if (magnitude !== undefined) lost.push(magnitude.name)
    const tensors = new Map([...module.tensors].filter(([part]) => part !== 'lora_magnitude_vector'))
    return { ...module, tensors, form: { ...form, magnitude: 'own' as const } }
  })
  return { modules: changed, lost }
}

function groupTensors(
  tensors: ReadonlyMap<string, TensorHeader>,
  file: string,
): { readonly found: readonly Found[]; readonly ignored: readonly string[]; readonly ignoredDora: readonly string[] } {
  const found = new Map<string, Found>()
  const ignored: string[] = []
  const ignoredDora: string[] = []
  for (const [name, tensor] of tensors) {
    const key = parseLoraKey(name)
    if (key === undefined) throw notALora(file, name)
    const { component, layer, part } = key
    if (part === 'other') throw unsupportedMethod(file, name)
    if (part === 'dora-scale') ignoredDora.push(name)
    else if (part === 'ignored') ignored.push(name)
    else {
      const id = `${component} ${layer}`
      const own: Found = found.get(id) ?? { component, layer, tensors: new Map() }
      found.set(id, own)
      if (part === 'alpha') own.alpha = tensor
      else own.tensors.set(part, tensor)
    }
  }
  if (found.size === 0) throw notALora(file, ignored[0] ?? '')
  return { found: [...found.values()], ignored, ignoredDora }
}

/** Patterns of tensor names, and the unsupported method that each one shows. The first pattern that matches decides. */
const methods: readonly (readonly [RegExp, string])[] = [
  [/\.lora_mid|\.(?:hada|lokr)_t\d/, 'Tucker decomposition'],
  [/\.(?:b?oft_|rescale$)/, 'OFT or BOFT'],
  [/\.(?:ia3_l|on_input|weight$)/, '(IA)³'],
  [/\.diff$/, 'changes of whole weights'],
  [/\.(?:diff_b|w_norm|b_norm)$/, 'changes of biases and norms'],
  [/\.lora_A.*\.bias$/, 'a LoRA with biases of its first factors'],
  [/\.lora_B.*\.bias$/, 'DoRA with biases'],
]

/** The error for a tensor of a method that cannot be loaded. */
export function unsupportedMethod(file: string, tensor: string): UnsupportedError {
  const method = methods.find(([pattern]) => pattern.test(tensor))?.[1] ?? 'another method'
  return new UnsupportedError(
    'lora-method',
    `${file} has the tensor ${tensor}, which belongs to ${method}; that is not supported here. LoRA, LoCon, DoRA in peft's form, LoHa and LoKr are supported.`,
    { file, tensor, method },
  )
}

function notALora(file: string, name: string): CheckpointError {
  const what = name === '' ? 'has no tensors' : `has the tensor ${name}, which is no part of a LoRA`
  return new CheckpointError('not-a-lora', `${file} ${what}.`, { file, tensor: name })
}
