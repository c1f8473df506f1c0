/**
 * The order in which `save_pretrained` writes the parameters of a class into shards. A safetensors file does not keep it. diffusers uses the
 * order in which a class creates its modules; transformers 5 sorts the tensors of a loaded model by name. module-order.json was recorded from
 * the libraries (fixtures/module-order.py).
 */

import orders from './module-order.json' with { type: 'json' }

/** A module's children in order; `*` stands for the indices of a list of modules. */
interface Tree {
  readonly [child: string]: Tree
}

/** The tree of modules of each class; null for classes whose parameters are sorted by name. */
const classes: Readonly<Record<string, Tree | null>> = orders

/** Whether the order of this class is known. */
export function knowsOrder(className: string): boolean {
  return Object.hasOwn(classes, className)
}

/**
 * Sorts tensor names into the order in which the class is saved. Unknown names come after their siblings, and unknown classes keep the given
 * order.
 */
export function stateDictOrder(className: string, names: readonly string[]): string[] {
  const tree = knowsOrder(className) ? classes[className] : undefined
  if (tree === undefined) return [...names]
  const split = names.map((name) => ({ name, parts: name.split('.') }))
  return tree === null ? split.toSorted(byParts).map(({ name }) => name) : sortBelow(tree, split, 0)
}

interface SplitName {
  readonly name: string
  readonly parts: readonly string[]
}

/** Compares names part by part: numbers come before words, and numbers compare by value, also at the end of a word. Source: transformers' `dot_natural_key`. */
function byParts(a: SplitName, b: SplitName): number {
  for (const [i, part] of a.parts.entries()) {
    const other = b.parts[i]
    if (other === undefined) return 1
    if (part === other) continue
    if (isNumber(part) !== isNumber(other)) return isNumber(part) ? -1 : 1
    const [word, otherWord] = [part.replace(/\d+$/, ''), other.replace(/\d+$/, '')]
    if (word !== otherWord) return word < otherWord ? -1 : 1
    // A word without a number comes before the same word with one.
    return Number(part.slice(word.length) || -1) - Number(other.slice(word.length) || -1)
  }
  return a.parts.length - b.parts.length
}

function sortBelow(tree: Tree, names: readonly SplitName[], depth: number): string[] {
  const groups = new Map<string, SplitName[]>()
  for (const name of names) {
    const part = name.parts[depth] ?? ''
    const group = groups.get(part)
    if (group === undefined) groups.set(part, [name])
    else group.push(name)
  }
  const children = Object.keys(tree)
  const rank = (part: string): readonly [number, number] => {
    const at = children.indexOf(isNumber(part) ? '*' : part)
    if (at >= 0) return [at, isNumber(part) ? Number(part) : 0]
    // Scales and zero points of a quantized weight come after it.
    const related = children.indexOf(part.replace(/_(?:scale|zero_point)$/, ''))
    return related >= 0 ? [related, 1] : [children.length, 0]
  }
  const order = [...groups.keys()]
    .map((part) => ({ part, rank: rank(part) }))
    .toSorted((a, b) => a.rank[0] - b.rank[0] || a.rank[1] - b.rank[1])
  const sorted: string[] = []
  for (const { part } of order) {
    const below = tree[isNumber(part) ? '*' : part]
    const inner: SplitName[] = []
    for (const name of groups.get(part) ?? []) {
      if (name.parts.length === depth + 1) sorted.push(name.name)
      else inner.push(name)
    }
    sorted.push(...(below === undefined ? inner.map((name) => name.name) : sortBelow(below, inner, depth + 1)))
  }
  return sorted
}

function isNumber(part: string): boolean {
  return /^\d+$/.test(part)
}
