/**
 * How a WGSL text of onnxruntime is changed: a kernel is recognized by its bindings, its constants and every text that an edit replaces. If any
 * of them is missing, or occurs more often than expected, the kernel is another one and stays as it is.
 */

/** Replaces one text, or several of the same form. */
export interface Edit {
  /** Must be global, so that all occurrences are replaced and counted. */
  readonly find: RegExp
  /** As in `String.replaceAll`. */
  readonly by: string | ((match: string, ...groups: (string | undefined)[]) => string)
  /** How often the text must occur: this often, or one of these numbers. Default 1. */
  readonly times?: number | readonly number[]
}

/** A kernel of onnxruntime that this library changes. */
export interface KernelEdits {
  /** The label that onnxruntime gives its shader module: the name of its program. */
  readonly label: string
  /** The names of the kernel's storage buffers, in order; one list for each form of the kernel. */
  readonly bindings: readonly (readonly string[])[]
  /** Names of module-scope constants that the kernel must declare. It may declare more. */
  readonly constants?: readonly string[]
  readonly edits: readonly Edit[]
  /** A pattern for arithmetic that the edits replace. If the edited text still matches it, the kernel counts as not recognized. */
  readonly never?: RegExp
}

/** The changed text of a kernel, or undefined if the text is not this kernel. */
export function applyEdits(code: string, { bindings, constants = [], edits, never }: KernelEdits): string | undefined {
  const declared = [...code.matchAll(/@binding\(\d+\) var<storage, \w+> (\w+):/g)].map(([, name]) => name)
  if (!bindings.some((names) => names.join() === declared.join())) return undefined
  if (!constants.every((name) => new RegExp(`^const ${name}\\b`, 'm').test(code))) return undefined
  let edited = code
  for (const { find, by, times = 1 } of edits) {
    const found = edited.match(find)?.length ?? 0
    if (!(typeof times === 'number' ? [times] : times).includes(found)) return undefined
    edited = typeof by === 'string' ? edited.replaceAll(find, by) : edited.replaceAll(find, by)
  }
  return never?.test(edited) === true ? undefined : edited
}

/** Adds `alias sum_t`: the float32 type with as many components as the float16 type that the kernel's WGSL calls `alias`. */
export function sumType(alias: string): Edit {
  return { find: new RegExp(`^alias ${alias} = (vec\\d<)?f16(>)?;$`, 'gm'), by: '$&\nalias sum_t = $1f32$2;' }
}
