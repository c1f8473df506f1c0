/**
 * Chooses the files in a folder that hold a component's weights, by the rules of diffusers and transformers, including `variant`. Pure: it
 * works on a list of paths and reads no file.
 * Source: diffusers `variant_compatible_siblings` and `_fetch_index_file`, transformers `_get_resolved_checkpoint_files`.
 */

import { CheckpointError, InputError, UnsupportedError } from '../errors.js'
import type { WeightLibrary } from './types.js'

/** One file, or an index whose shards lie beside it. Paths inside the repository. */
export interface WeightFiles {
  readonly kind: 'single' | 'index'
  readonly path: string
  /** The variant of the chosen files; null for files without a variant, even if the request names one. */
  readonly variant: string | null
}

/** The arguments of {@link chooseWeightFiles}. */
export interface WeightFilesRequest {
  /** Folder of the component without a slash at the end; '' is the repository's root. */
  readonly folder: string
  readonly library: WeightLibrary
  readonly variant?: string | null | undefined
  /**
   * What to do if no file has the variant. `fallback`: take the files without a variant, as `DiffusionPipeline` does for its components.
   * `strict`: throw an error, as diffusers does if a single model is loaded.
   */
  readonly missingVariant: 'fallback' | 'strict'
}

const stems = { diffusers: 'diffusion_pytorch_model', transformers: 'model' } as const

/** @throws InputError `variant-name` for a name that cannot be part of a file name */
export function checkVariantName(variant: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(variant))
    throw new InputError(
      'variant-name',
      `variant is ${JSON.stringify(variant.slice(0, 100))}; allowed are letters, digits, "-" and "_".`,
      {
        variant: variant.slice(0, 100),
      },
    )
}

/** The names that a component's weights can have, in order of preference. */
function candidates(library: WeightLibrary, variant: string | null): readonly { kind: 'single' | 'index'; name: string }[] {
  const stem = stems[library]
  const infix = variant === null ? '' : `.${variant}`
  const single = { kind: 'single', name: `${stem}${infix}.safetensors` } as const
  const index = { kind: 'index', name: `${stem}.safetensors.index${infix}.json` } as const
  if (library === 'transformers') return [single, index]
  // diffusers used the second index name until 0.29.
  return variant === null ? [index, single] : [index, { kind: 'index', name: `${stem}.safetensors${infix}.index.json` }, single]
}

/** The variants that a folder has weights of, sorted. */
export function listVariants(paths: Iterable<string>, folder: string, library: WeightLibrary): readonly string[] {
  const stem = stems[library]
  const patterns = [
    new RegExp(`^${stem}\\.([^.]+)\\.safetensors$`),
    new RegExp(`^${stem}\\.safetensors\\.index\\.([^.]+)\\.json$`),
    new RegExp(`^${stem}\\.safetensors\\.([^.]+)\\.index\\.json$`),
  ]
  const found = new Set<string>()
  for (const name of namesIn(paths, folder)) {
    for (const pattern of patterns) {
      const variant = pattern.exec(name)?.[1]
      if (variant !== undefined && !/-\d{5}-of-\d{5}$/.test(variant) && variant !== 'index') found.add(variant)
    }
  }
  return [...found].toSorted()
}

/**
 * Chooses a component's weight files.
 * @throws CheckpointError `weights-not-found`, `variant-not-found`; UnsupportedError `pickle-weights`; InputError `variant-name`
 */
export function chooseWeightFiles(paths: Iterable<string>, request: WeightFilesRequest): WeightFiles {
  const { folder, library, missingVariant } = request
  const variant = request.variant ?? null
  if (variant !== null) checkVariantName(variant)
  const all = [...paths]
  const names = new Set(namesIn(all, folder))
  const prefix = folder === '' ? '' : `${folder}/`
  const find = (wanted: string | null): WeightFiles | null => {
    const found = candidates(library, wanted).find((candidate) => names.has(candidate.name))
    return found === undefined ? null : { kind: found.kind, path: prefix + found.name, variant: wanted }
  }
  const asked = find(variant)
  if (asked !== null) return asked
  const plain = variant === null || missingVariant === 'strict' ? null : find(null)
  if (plain !== null) return plain

  const where = folder === '' ? 'the root of the repository' : `${folder}/`
  const others = listVariants(all, folder, library)
  if (others.length > 0)
    throw new CheckpointError(
      'variant-not-found',
      `There are no ${variant === null ? 'weights without a variant' : `weights of variant ${variant}`} in ${where}; it has the variants ${others.join(', ')}. Set the option variant to one of them.`,
      { folder, variant, available: others },
    )
  if (variant !== null && find(null) !== null)
    throw new CheckpointError(
      'variant-not-found',
      `There are no weights of variant ${variant} in ${where}; it has some without a variant. Leave the option variant out.`,
      {
        folder,
        variant,
        available: [],
      },
    )
  if ([...names].some((name) => /\.(bin|ckpt|pt|pth|msgpack|h5)$/.test(name)))
    throw new UnsupportedError(
      'pickle-weights',
      `The weights in ${where} are in a format that can run code (pickle) or that Aquatint does not read; expected ${candidates(
        library,
        variant,
      )
        .map((c) => c.name)
        .join(
          ' or ',
        )}. Choose a repository or revision with safetensors files, or load it with diffusers and save it with save_pretrained.`,
      { folder },
    )
  throw new CheckpointError(
    'weights-not-found',
    `There are no weights in ${where}; expected ${candidates(library, variant)
      .map((c) => c.name)
      .join(' or ')}.`,
    { folder },
  )
}

function namesIn(paths: Iterable<string>, folder: string): string[] {
  const prefix = folder === '' ? '' : `${folder}/`
  const names: string[] = []
  for (const path of paths) {
    if (path.startsWith(prefix) && !path.includes('/', prefix.length)) names.push(path.slice(prefix.length))
  }
  return names
}
