/** Short lists of block names such as `up_blocks.0.attentions.1.transformer_blocks.3`: a whole branch is one entry, and so is a range. Pure. */

interface Branch {
  readonly children: Map<string, Branch>
  /** Whether the block of exactly this name is wanted; undefined if there is no such block. */
  own: boolean | undefined
  /** The number of blocks in this branch, and how many of them are wanted. */
  all: number
  wanted: number
}

const branch = (): Branch => ({ children: new Map(), own: undefined, all: 0, wanted: 0 })

/**
 * Lists the names in `wanted` in the order of `names`, the list of all blocks. If every block of branch `a` is wanted, the list has `a.*`;
 * consecutive numbers are listed as `a.0–3`.
 */
export function shortNames(names: readonly string[], wanted: ReadonlySet<string>): string[] {
  const root = branch()
  for (const name of names) {
    const isWanted = wanted.has(name)
    let at = root
    for (const word of name.split('.')) {
      const next = at.children.get(word) ?? branch()
      at.children.set(word, next)
      at = next
      at.all++
      if (isWanted) at.wanted++
    }
    at.own = isWanted
  }
  return below(root, '')
}

function below({ children }: Branch, prefix: string): string[] {
  const found: string[] = []
  for (const [word, child] of children) {
    const name = prefix + word
    if (child.wanted === child.all && child.all > 1) found.push(`${name}.*`)
    else {
      if (child.own === true) found.push(name)
      found.push(...below(child, `${name}.`))
    }
  }
  return joined(found)
}

const numbered = /^(?<start>.*\.)(?<number>\d+)(?<end>(?:\.\*)?)$/

/** Joins names whose last numbers are consecutive. */
function joined(names: readonly string[]): string[] {
  const result: string[] = []
  let run: { readonly start: string; readonly first: number; readonly end: string; last: number } | undefined
  for (const name of names) {
    const { start = '', number = '', end = '' } = numbered.exec(name)?.groups ?? {}
    if (run !== undefined && number !== '' && run.start === start && run.end === end && Number(number) === run.last + 1) {
      run.last++
      result.splice(-1, 1, `${start}${run.first}–${run.last}${end}`)
    } else {
      run = number === '' ? undefined : { start, first: Number(number), end, last: Number(number) }
      result.push(name)
    }
  }
  return result
}
