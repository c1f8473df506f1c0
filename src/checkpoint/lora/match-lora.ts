/** Finds the layers of a pipeline's networks that the branches of a LoRA file are for, and refuses a file for other networks. Pure. */

import { CheckpointError } from '../../errors.js'
import { ldmLayers } from './ldm-layers.js'
import { misfitOf } from './lora-forms.js'
import { unsupportedMethod, type LoraFile, type LoraModule } from './lora-file.js'
import { looksLike } from './lora-family.js'
import { flatName, layerNames, type LoraComponent } from './lora-keys.js'
import { originalLayers } from './transformer-layers.js'
import { hasMixedNames, isOtherOriginal, isUnread, networkKind, repeatedBlocks } from './unread-layers.js'

/** All layers that can have branches in a network, by name, with the shapes of their weights: [out, in, …]. */
export type AdaptableLayers = ReadonlyMap<string, readonly number[]>

/** The rows of a branch that are for one layer. All of them, unless the file has several layers as one matrix. */
export interface MatchedBranch {
  readonly module: LoraModule
  readonly firstRow: number
  readonly rows: number
}

/** The branches of a file by the layers of each component. */
export interface MatchedLora {
  readonly components: ReadonlyMap<LoraComponent, ReadonlyMap<string, MatchedBranch>>
  /** The branches for layers or components that the pipeline does not have. */
  readonly ignored: readonly LoraModule[]
  /** The branches for layers that the pipeline has, under names that diffusers does not read. */
  readonly unread: readonly LoraModule[]
}

/** A layer of a network, and the rows that belong to it if the file stores several layers as one matrix. */
interface Target extends Omit<MatchedBranch, 'module'> {
  readonly layer: string
}

/**
 * Matches a file with the components of a pipeline. As in diffusers, one layer that the pipeline has is enough, but a tensor whose shape
 * does not fit its layer is an error.
 * @throws CheckpointError `lora-mismatch` with the first tensor that does not fit, and the family that the file seems to be for;
 *   UnsupportedError `lora-method`
 */
export function matchLora(lora: LoraFile, file: string, components: ReadonlyMap<LoraComponent, AdaptableLayers>): MatchedLora {
  const found = new Map<LoraComponent, Map<string, MatchedBranch>>()
  const ignored: LoraModule[] = []
  const unread: LoraModule[] = []
  const kind = networkKind(components.get('denoiser'))
  const isKohya = lora.modules.some(({ first }) => first.name.endsWith('.lora_down.weight'))
  const isMixed = hasMixedNames(lora, kind)
  const isRepeated = repeatedBlocks(lora, kind)
  const [change] = lora.ignored
  if (change !== undefined && kind !== 'flux1') throw unsupportedMethod(file, change)
  const joined: (readonly [LoraModule, readonly Target[]])[] = []
  const indexes = new Map([...components].map(([component, layers]) => [component, indexOf(layers)]))
  const take = (module: LoraModule, targets: readonly Target[]) => {
    const own = found.get(module.component) ?? new Map<string, MatchedBranch>()
    found.set(module.component, own)
    for (const { layer, ...rows } of targets) {
      if (own.has(layer)) throw misfit(lora, file, module.first)
      own.set(layer, { module, ...rows })
    }
  }
  for (const module of lora.modules) {
    const index = indexes.get(module.component)
    const { targets, isOriginal } = layerNames(module.layer)
      .map((name) => index?.get(name))
      .find((known) => known !== undefined) ?? { targets: undefined, isOriginal: isOtherOriginal(module.layer) }
    const [, ...inner] = components.get(module.component)?.get(targets?.[0]?.layer ?? '') ?? []
    if (
      isMixed ? !module.first.name.startsWith('transformer.') : isRepeated(module) || isUnread(module, kind, isOriginal, isKohya)
    ) {
      unread.push(module)
      continue
    }
    if (targets === undefined) {
      ignored.push(module)
      continue
    }
    const wanted = targets.reduce((sum, { rows }) => sum + rows, 0)
    const wrong = misfitOf(module, wanted, inner)
    if (wrong !== undefined) throw misfit(lora, file, wrong.tensor, wrong.expected)
    if (targets.length > 1) joined.push([module, targets])
    else take(module, targets)
  }
  for (const [module, targets] of joined) {
    // Some files have the same change twice: as one matrix, and in its parts. diffusers takes the parts.
    const own = found.get(module.component)
    if (!targets.every(({ layer }) => own?.has(layer))) take(module, targets)
  }
  const [first] = ignored
  const [other] = unread
  if (found.size === 0 && other !== undefined && unread.length >= ignored.length) throw unreadFile(file, other)
  if (found.size === 0 && first !== undefined) throw misfit(lora, file, first.first)
  return { components: found, ignored, unread }
}

/** The layers that a name in a file means. */
interface Named {
  readonly targets: readonly Target[]
  /** The name is that of a transformer's original code. */
  readonly isOriginal: boolean
}

/** The layers by the names that files have for them. */
function indexOf(layers: AdaptableLayers): ReadonlyMap<string, Named> {
  const perBlock = [...layers.keys()].filter((name) => /^down_blocks\.0\.resnets\.\d+\.conv1$/.test(name)).length
  const isFlux2 = layers.has('double_stream_modulation_img.linear')
  const index = new Map<string, Named>()
  const parts = new Map<string, (Target & { readonly place: number })[]>()
  for (const [layer, weight] of layers) {
    const whole = { layer, firstRow: 0, rows: weight[0] ?? 0 }
    for (const name of ldmLayers(layer, perBlock)) index.set(flatName(name), { targets: [whole], isOriginal: false })
    for (const { name, ...where } of originalLayers(layer, isFlux2))
      parts.set(flatName(name), [...(parts.get(flatName(name)) ?? []), { ...whole, ...where }])
  }
  for (const [name, unordered] of parts) {
    let firstRow = 0
    const targets = unordered
      .toSorted((a, b) => a.place - b.place)
      .map(({ layer, rows }) => {
        const target = { layer, firstRow, rows }
        firstRow += rows
        return target
      })
    index.set(name, { targets, isOriginal: true })
  }
  for (const [layer, [rows = 0]] of layers)
    index.set(flatName(layer), { targets: [{ layer, firstRow: 0, rows }], isOriginal: false })
  return index
}

/** The error for a file from which diffusers reads nothing. */
function unreadFile(file: string, { first: { name } }: LoraModule): CheckpointError {
  const message = `${file} does not fit this pipeline: diffusers does not read a LoRA for it with names such as ${name}, so it would change nothing there. Convert the file to diffusers' names.`
  return new CheckpointError('lora-mismatch', message, { file, tensor: name })
}

function misfit(
  lora: LoraFile,
  file: string,
  { name, shape }: { readonly name: string; readonly shape: readonly number[] },
  expected?: readonly number[],
): CheckpointError {
  const looks = looksLike(lora)
  const why =
    expected === undefined
      ? `it has no layer for the tensor ${name}`
      : `the tensor ${name} has the shape [${shape.join(', ')}], and its layer needs [${expected.join(', ')}]`
  const what = looks === undefined ? '' : ` It looks like a LoRA for ${looks}.`
  return new CheckpointError('lora-mismatch', `${file} does not fit this pipeline: ${why}.${what}`, {
    file,
    tensor: name,
    actual: shape,
    expected: expected ?? null,
    looksLike: looks ?? null,
  })
}
