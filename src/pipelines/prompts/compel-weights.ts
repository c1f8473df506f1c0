/**
 * The grammar in which prompts for the Python library compel give weights: `word++`, `(some words)1.3`, `"some words"-`, `(word).attend(1.3)`.
 * What does not parse is text. Pure. Source: `build_parser_syntax` of compel 2.5, without its operators for several prompts.
 */

/** A part of a prompt with its weight; 1 changes nothing. */
export interface WeightedText {
  readonly text: string
  readonly weight: number
}

/** A part of a prompt: text, or parts that share a weight. */
type Part = string | { readonly weight: number; readonly parts: readonly Part[] }

/** Parsed parts, and the index after the last of them. */
interface Found {
  readonly parts: readonly Part[]
  readonly end: number
}

/** The deepest nesting of brackets and quotes that is read. */
const maxDepth = 100

const white = String.raw` \t\n\r\f\v`
/** The signs that have a meaning. After a backslash, each is a character of a word. */
const signs = String.raw`()",.+\-=`
const patterns = {
  white: new RegExp(`[${white}]*`, 'y'),
  freeWord: new RegExp(`[^${white}]+`, 'y'),
  // A plus or minus belongs to a word if another character of the word follows.
  word: new RegExp(String.raw`(?:\\[${signs}]|[+-](?![${white}${signs}]|$)|[^${white}${signs}])+`, 'y'),
  mark: /[,.]/y,
  quoted: /"(?:\\"|[^"\n\r])*"/y,
  suffix: /\++|-+/y,
  weight: /\++|-+|[+-]?(?:\d+\.\d*|\.\d+)|\d+/y,
  attend: new RegExp(String.raw`[${white}]*\.attend[${white}]*\([${white}]*`, 'y'),
  open: /\(/y,
  close: /\)/y,
} as const

/** Parses a prompt to texts with weights. Nested weights multiply. */
export function parseCompel(text: string): readonly WeightedText[] {
  const spaced = text.replaceAll(/,(\S)/g, ', $1')
  return joinEqual(flatten(new Grammar(spaced, 0).prompt(), 1))
}

class Grammar {
  readonly #text: string
  /** How many brackets and quotes are around the current place. */
  #depth: number
  /** The parts in brackets and quotes that are parsed already, by the index at which they begin, because several rules try the same place. */
  readonly #known = new Map<number, Found | null>()

  constructor(text: string, depth: number) {
    this.#text = text
    this.#depth = depth
  }

  /** Parses a whole prompt. Text that matches no other rule is a word. */
  prompt(): readonly Part[] {
    const parts: Part[] = []
    for (let at = this.#skip(0); at < this.#text.length;) {
      const found = this.#weighted(at) ??
        this.#enclosed(at) ??
        this.#take('freeWord', at) ?? { parts: [], end: this.#text.length }
      parts.push(...found.parts)
      at = this.#skip(found.end)
    }
    return parts
  }

  /** Parses the whole text by the rules for the inside of brackets; null if a part of it does not follow them. */
  whole(): readonly Part[] | null {
    const { parts, end } = this.#inner(0)
    return this.#skip(end) === this.#text.length ? parts : null
  }

  /** Parses parts from `begin` on, as long as they follow the rules for the inside of brackets. */
  #inner(begin: number): Found {
    const parts: Part[] = []
    let end = begin
    for (;;) {
      const at = this.#skip(end)
      const found = this.#weighted(at) ?? this.#enclosed(at) ?? this.#take('word', at) ?? this.#take('mark', at)
      if (found === null) return { parts, end }
      parts.push(...found.parts)
      end = found.end
    }
  }

  /** Parses a part that has a weight: with `.attend(…)`, or with a number or signs directly behind it. */
  #weighted(at: number): Found | null {
    const enclosed = this.#enclosed(at)
    const target = enclosed ?? this.#take('word', at)
    if (target === null) return null
    const attend = this.#match('attend', target.end)
    const given = attend === null ? null : this.#match('weight', attend.end)
    const close = given === null ? null : this.#match('close', this.#skip(given.end))
    if (given !== null && close !== null) return weighted(target, given.text, close.end)
    const behind = this.#match(enclosed === null ? 'suffix' : 'weight', target.end)
    return behind === null ? null : weighted(target, behind.text, behind.end)
  }

  /** Parses a part in brackets or quotes. */
  #enclosed(at: number): Found | null {
    const known = this.#known.get(at)
    if (known !== undefined) return known
    if (this.#depth === maxDepth) return null
    this.#depth++
    const found = this.#bracketed(at) ?? this.#quoted(at)
    this.#depth--
    this.#known.set(at, found)
    return found
  }

  #bracketed(at: number): Found | null {
    const open = this.#match('open', at)
    if (open === null) return null
    const { parts, end } = this.#inner(open.end)
    const close = this.#match('close', this.#skip(end))
    return close === null ? null : { parts, end: close.end }
  }

  #quoted(at: number): Found | null {
    const quoted = this.#match('quoted', at)
    if (quoted === null) return null
    const parts = new Grammar(quoted.text.slice(1, -1), this.#depth).whole()
    return parts === null ? null : { parts, end: quoted.end }
  }

  /** Parses plain text, and removes the backslashes before brackets and quotes. */
  #take(pattern: 'word' | 'freeWord' | 'mark', at: number): Found | null {
    const match = this.#match(pattern, at)
    return match && { parts: [match.text.replaceAll(/\\([()"])/g, '$1')], end: match.end }
  }

  #skip(at: number): number {
    return this.#match('white', at)?.end ?? at
  }

  #match(pattern: keyof typeof patterns, at: number): { readonly text: string; readonly end: number } | null {
    const expression = patterns[pattern]
    expression.lastIndex = at
    const [text] = expression.exec(this.#text) ?? []
    return text === undefined ? null : { text, end: at + text.length }
  }
}

function weighted({ parts }: Found, weight: string, end: number): Found {
  return { parts: [{ weight: factorOf(weight), parts }], end }
}

/** Each plus is a factor of 1.1, each minus one of 0.9. */
function factorOf(weight: string): number {
  if (/^\++$/.test(weight)) return 1.1 ** weight.length
  if (/^-+$/.test(weight)) return 0.9 ** weight.length
  return Number(weight)
}

function flatten(parts: readonly Part[], scale: number): WeightedText[] {
  return parts.flatMap((part) =>
    typeof part === 'string' ? [{ text: part, weight: scale }] : flatten(part.parts, scale * part.weight),
  )
}

/** Joins neighbouring texts of equal weight. */
function joinEqual(parts: readonly WeightedText[]): readonly WeightedText[] {
  const joined: WeightedText[] = []
  for (const { text, weight } of parts) {
    const last = joined.at(-1)
    if (last?.weight === weight) joined[joined.length - 1] = { text: `${last.text} ${text}`, weight }
    else joined.push({ text, weight })
  }
  return joined
}
