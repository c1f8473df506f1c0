/**
 * The order in which a class of diffusers or transformers lists its parameters. `save_pretrained` fills shards in it, and a
 * safetensors file does not keep it. module-order.json is written by the libraries themselves (fixtures/module-order.py).
 */

import orders from './module-order.json' with { type: 'json' }

/** A module's children in order; `*` stands for the numbers of a list. */
interface Tree {
  readonly [child: string]: Tree
}

const classes: Tree = orders

/** Whether the order of this class is known. */
export function knowsOrder(className: string): boolean {
  return Object.hasOwn(classes, className)
}

/** The names as the class lists them. Names that it does not know, and those of other classes, keep their order behind their kind. */
export function stateDictOrder(className: string, names: readonly string[]): string[] {
  const tree = knowsOrder(className) ? classes[className] : undefined
  return tree === undefined
    ? [...names]
    : sortBelow(
        tree,
        names.map((name) => ({ name, parts: name.split('.') })),
        0,
      )
}

interface SplitName {
  readonly name: string
  readonly parts: readonly string[]
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
    // What quantising adds to a weight stands behind it.
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
