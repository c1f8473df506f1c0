/** Finds the layers of a pipeline's networks that the branches of a LoRA file are for, and refuses a file for other networks. Pure. */

import { CheckpointError } from '../../errors.js'
import { ldmLayers } from './ldm-layers.js'
import type { LoraFile, LoraModule } from './lora-file.js'
import { looksLike } from './lora-family.js'
import { flatName, layerNames, type LoraComponent } from './lora-keys.js'

/** The layers of a network that can have branches, by name, with the shapes of their weights: [out, in, …]. */
export type AdaptableLayers = ReadonlyMap<string, readonly number[]>

/** The branches of a file by the layers of each component. */
export interface MatchedLora {
  readonly components: ReadonlyMap<LoraComponent, ReadonlyMap<string, LoraModule>>
  /** The branches for layers or components that the pipeline does not have. */
  readonly ignored: readonly LoraModule[]
}

/**
 * Matches a file with the components of a pipeline. A file of which a part fits is taken, as in diffusers, unless a shape differs.
 * @throws CheckpointError `lora-mismatch` with the first tensor that does not fit, and what the file looks like
 */
export function matchLora(lora: LoraFile, file: string, components: ReadonlyMap<LoraComponent, AdaptableLayers>): MatchedLora {
  const found = new Map<LoraComponent, Map<string, LoraModule>>()
  const ignored: LoraModule[] = []
  const indexes = new Map([...components].map(([component, layers]) => [component, indexOf(layers)]))
  for (const module of lora.modules) {
    const index = indexes.get(module.component)
    const layer = layerNames(module.layer)
      .map((name) => index?.get(name))
      .find((name) => name !== undefined)
    const weight = layer === undefined ? undefined : components.get(module.component)?.get(layer)
    if (layer === undefined || weight === undefined) {
      ignored.push(module)
      continue
    }
    const { a, b, rank } = module
    const [out = 0, ...inner] = weight
    if (!sameShape(a.shape, [rank, ...inner])) throw misfit(lora, file, a, [rank, ...inner])
    if (!sameShape(b.shape, [out, rank])) throw misfit(lora, file, b, [out, rank])
    const own = found.get(module.component) ?? new Map<string, LoraModule>()
    found.set(module.component, own)
    if (own.has(layer)) throw misfit(lora, file, a)
    own.set(layer, module)
  }
  const [first] = ignored
  if (found.size === 0 && first !== undefined) throw misfit(lora, file, first.a)
  return { components: found, ignored }
}

/** The layers by the names that files have for them. */
function indexOf(layers: AdaptableLayers): ReadonlyMap<string, string> {
  const perBlock = [...layers.keys()].filter((name) => /^down_blocks\.0\.resnets\.\d+\.conv1$/.test(name)).length
  const originals = [...layers.keys()].flatMap((layer) =>
    ldmLayers(layer, perBlock).map((name) => [flatName(name), layer] as const),
  )
  return new Map([...originals, ...[...layers.keys()].map((layer) => [flatName(layer), layer] as const)])
}

/** Whether two shapes are equal apart from dimensions of 1 at the end: a Linear can be stored as a convolution of one pixel. */
function sameShape(a: readonly number[], b: readonly number[]): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a]
  return long.every((size, axis) => size === (short[axis] ?? 1))
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
