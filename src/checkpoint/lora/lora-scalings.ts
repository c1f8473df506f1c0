/** The factors of the branches of a LoRA file: alpha / rank. */

import type { ByteSource, ReadOptions } from '../../hub/types.js'
import { decodeFloats, isFloatDType } from '../element-types.js'
import type { SafetensorsDType } from '../types.js'
import type { LoraFile, LoraModule } from './lora-file.js'
import { flatName } from './lora-keys.js'
import { trainedScaling } from './lora-metadata.js'
import { hasMixedNames, type NetworkKind } from './unread-layers.js'

/** The factors of all branches. */
export interface LoraScalings {
  readonly factors: ReadonlyMap<LoraModule, number>
  /** The branches whose own alpha differs from the one that diffusers gives them. */
  readonly overruled: readonly LoraModule[]
}

/**
 * Reads the alphas: see diffusers' `get_peft_kwargs`. In a file for a pipeline with a UNet, a branch without an alpha gets the most common
 * alpha of its component. So does a branch of a LoRA whose alpha diffusers 0.42 looks for under a wrong name ({@link isMissed}). In a file
 * for FLUX.1 with diffusers' names, branches without an alpha and branches under an old path ({@link hasOldPath}) get the first alpha of
 * their component, in the order of the file's data. diffusers looks for the most common alpha there too, but compares tensor objects, no
 * two of which are equal, so it takes the first. peft's config decides for other branches without an alpha, and for all branches
 * if diffusers drops the alphas ({@link hasMixedNames}).
 */
export async function readScalings(
  { modules, metadata }: LoraFile,
  source: ByteSource,
  kind: NetworkKind,
  options: ReadOptions = {},
): Promise<LoraScalings> {
  const read = async ({ alpha }: LoraModule) => {
    if (alpha === undefined) return undefined
    return firstNumber(await source.read({ begin: alpha.begin, end: alpha.end }, options), alpha.dtype)
  }
  const alphas = new Map(await Promise.all(modules.map(async (module) => [module, await read(module)] as const)))
  const hasUNet = kind === 'unet'
  const inFile = modules.toSorted((a, b) => (a.alpha?.begin ?? 0) - (b.alpha?.begin ?? 0))
  const usual = new Map(
    [...new Set(modules.map(({ component }) => component))].map((component) => {
      const own = (hasUNet ? modules : inFile).flatMap((module) =>
        module.component === component ? (alphas.get(module) ?? []) : [],
      )
      return [component, hasUNet ? mostCommon(own) : own[0]]
    }),
  )
  // diffusers refuses files of other methods, so it has no alphas for them.
  const isLora = modules.every(({ form }) => form.kind === 'low-rank')
  const hasNoAlphas = hasMixedNames({ modules }, kind)
  const overruled: LoraModule[] = []
  const factorOf = (module: LoraModule): number => {
    const { component, layer, rank } = module
    // A Kronecker product of two whole matrices has no alpha.
    if (rank === undefined) return 1
    const own = alphas.get(module)
    const common = hasUNet || (kind === 'flux1' && hasOwnNames(module)) ? usual.get(component) : undefined
    const isOverruled = hasUNet ? isLora && isMissed(module) : common !== undefined && hasOldPath(module)
    const alpha = hasNoAlphas ? undefined : isOverruled ? common : (own ?? common)
    if (own !== undefined && alpha !== own) overruled.push(module)
    return alpha === undefined ? trainedScaling(metadata, component, layer, rank) : alpha / rank
  }
  return { factors: new Map(modules.map((module) => [module, factorOf(module)])), overruled }
}

/** How to read integer tensors: some trainers store alphas as integers. */
const integers: Readonly<Partial<Record<SafetensorsDType, (view: DataView) => number>>> = {
  I8: (view) => view.getInt8(0),
  U8: (view) => view.getUint8(0),
  I16: (view) => view.getInt16(0, true),
  U16: (view) => view.getUint16(0, true),
  I32: (view) => view.getInt32(0, true),
  U32: (view) => view.getUint32(0, true),
  I64: (view) => Number(view.getBigInt64(0, true)),
  U64: (view) => Number(view.getBigUint64(0, true)),
}

/** The first number of a tensor; undefined where it is empty or holds no numbers. */
function firstNumber(bytes: Uint8Array<ArrayBuffer>, dtype: SafetensorsDType): number | undefined {
  if (isFloatDType(dtype)) return decodeFloats(bytes, dtype)[0]
  return bytes.byteLength === 0 ? undefined : integers[dtype]?.(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength))
}

/**
 * Whether diffusers 0.42 misses the alpha of a layer in a file for a pipeline with a UNet. It misses the alphas of attention layers,
 * because it changes the names of these layers. It misses all alphas of the first text encoder, a CLIPTextModel: since transformers 5, the
 * names of its layers do not begin with `text_model`. Those of the second text encoder, a CLIPTextModelWithProjection, still do.
 */
function isMissed({ component, layer }: LoraModule): boolean {
  const name = flatName(layer)
  if (component === 'denoiser') return /_attn[12]_to_(?:q|k|v|out_0)$/.test(name)
  return component === 'text_encoder' || /_self_attn_\w+_proj$/.test(name)
}

/** Whether a layer has diffusers' name, with its component in front. */
const hasOwnNames = ({ first }: LoraModule) => /^(?:transformer|text_encoder)\./.test(first.name)

/** Whether a text encoder's layer has the path that it had before transformers 5. diffusers 0.42 does not find the alpha of such a layer. */
const hasOldPath = ({ first }: LoraModule) => first.name.startsWith('text_encoder.text_model.')

/** The most frequent number; of equally frequent numbers, the one that occurs first. Undefined if `numbers` is empty. */
function mostCommon(numbers: readonly number[]): number | undefined {
  const counts = new Map<number, number>()
  for (const number of numbers) counts.set(number, (counts.get(number) ?? 0) + 1)
  return [...counts].toSorted((a, b) => b[1] - a[1])[0]?.[0]
}
