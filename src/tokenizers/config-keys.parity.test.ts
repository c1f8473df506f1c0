/**
 * Changes every key of a tokenizer's files, one at a time (fixtures/config-keys/tokenizers*.json). Either the ids equal those of
 * transformers, or the tokenizer refuses the files with an error that names the key. No change silently gives other ids.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { AquatintError } from '../errors.js'
import { CLIPTokenizer } from './clip-tokenizer.js'
import { Qwen2Tokenizer } from './qwen2-tokenizer.js'
import { readSentencePieceModel } from './sentencepiece-model.js'
import { T5Tokenizer } from './t5-tokenizer.js'
import type { TokenizerFiles } from './types.js'

type Json = Readonly<Record<string, unknown>>
type Path = readonly (string | number)[]
/** The ids of each text, by the text's index: without a limit, and padded or cut to the length that a pipeline requests. */
type Ids = readonly [free: Readonly<Record<string, readonly number[]>>, padded: Readonly<Record<string, readonly number[]>>]
/** A changed key of a file. Without a value, the key is removed. */
type Change = readonly [file: string, path: Path, result: number, value?: unknown]
interface KeyCase {
  readonly class: keyof typeof classes
  readonly folder: string
  readonly files: readonly string[]
  readonly output: Ids
  /** The results of the changes. Each change has the index of its result in this list. */
  readonly results: readonly ('same' | 'error' | Ids)[]
  readonly changes: readonly Change[]
}

const fixtures = new URL('../../fixtures/', import.meta.url)
interface KeyCases {
  readonly texts: readonly string[]
  /** The length that a pipeline requests. CLIP's tokenizer uses its own length instead. */
  readonly length: number
  readonly cases: readonly KeyCase[]
}
const classes = { CLIPTokenizer, T5Tokenizer, Qwen2Tokenizer }
const all = ['tokenizers.json', 'tokenizers-qwen2.json'].flatMap((name) => {
  const { texts, length, cases } = JSON.parse(readFileSync(new URL(`config-keys/${name}`, fixtures), 'utf8')) as KeyCases
  return cases.map((item) => Object.assign(item, { texts, length }))
})
type Item = (typeof all)[number]

/** A copy of a value in which the part at a path is changed. */
function changed(value: unknown, [key, ...rest]: Path, change: Change): unknown {
  if (key === undefined) return change[3]
  const leftOut = rest.length === 0 && change.length < 4
  if (Array.isArray(value)) {
    const items = value as readonly unknown[]
    return leftOut
      ? items.filter((_, index) => index !== key)
      : items.map((item, index) => (index === key ? changed(item, rest, change) : item))
  }
  const { [key]: own, ...others } = value as Json
  if (leftOut) return others
  // An existing key keeps its position in the object.
  return key in (value as Json)
    ? Object.fromEntries(Object.entries(value as Json).map(([k, v]) => [k, k === key ? changed(own, rest, change) : v]))
    : { ...others, [key]: changed(own, rest, change) }
}

interface Contents {
  readonly folder: string
  readonly json: (name: string) => Json | undefined
  readonly text: (name: string) => string | undefined
  readonly bytes: (name: string) => Uint8Array | undefined
}

function contentsOf({ folder, files }: KeyCase): Contents {
  const read = (name: string) => (files.includes(name) ? readFileSync(new URL(`${folder}/${name}`, fixtures)) : undefined)
  const parsed = new Map<string, Json>()
  for (const name of files.filter((file) => file.endsWith('.json'))) parsed.set(name, JSON.parse(String(read(name))) as Json)
  const texts = new Map(files.map((name) => [name, read(name)]))
  return {
    folder,
    json: (name) => parsed.get(name),
    text: (name) => texts.get(name)?.toString(),
    bytes: (name) => texts.get(name),
  }
}

/** The SentencePiece models that were read already, by folder and `extra_ids`. None of the changes is in a model's own file. */
const models = new Map<string, ReturnType<typeof readSentencePieceModel>>()

function modelOf(model: Uint8Array, folder: string, extraIds: unknown): ReturnType<typeof readSentencePieceModel> {
  const key = `${folder} ${JSON.stringify(extraIds)}`
  const read = models.get(key) ?? readSentencePieceModel(model, extraIds)
  models.set(key, read)
  return read
}

/** The files as `loadTokenizer` hands them to the tokenizer. */
function filesOf({ folder, json, text, bytes }: Contents): TokenizerFiles {
  const tokenizerConfig = json('tokenizer_config.json')
  const model = bytes('spiece.model')
  return {
    tokenizerJson: json('tokenizer.json') ?? (model && modelOf(model, folder, tokenizerConfig?.['extra_ids'])),
    tokenizerConfig,
    specialTokensMap: json('special_tokens_map.json'),
    addedTokens: json('added_tokens.json'),
    vocab: json('vocab.json'),
    merges: text('merges.txt'),
  }
}

function idsOf(item: Item, contents: Contents): readonly (readonly (readonly number[])[])[] {
  const tokenizer = new classes[item.class](filesOf(contents))
  return [
    item.texts.map((text) => tokenizer.encode(text)),
    item.texts.map((text) => tokenizer.encodePadded(text, tokenizer.fixedLength ?? item.length).inputIds),
  ]
}

/** How Aquatint's result differs from that of transformers after a change; null if it does not differ. */
function fault(item: Item, contents: Contents, change: Change): string | null {
  const [file, path, result] = change
  const judged = item.results[result] ?? 'same'
  let actual: ReturnType<typeof idsOf>
  try {
    actual = idsOf(item, {
      ...contents,
      json: (name) => (name === file ? (changed(contents.json(name) ?? {}, path, change) as Json) : contents.json(name)),
    })
  } catch (error) {
    if (!(error instanceof AquatintError)) return `fails with ${String(error)}`
    if (judged === 'error') return null
    const said = `${error.message} ${JSON.stringify(error.details)}`
    if (judged === 'same') return `is refused (${error.message}) and changes nothing`
    return path.some((key) => typeof key === 'string' && said.includes(key)) ? null : `names no key: ${error.message}`
  }
  if (judged === 'error') return null
  const wrong = item.texts.filter((_, text) =>
    item.output.some((own, kind) => {
      const expected = (judged === 'same' ? undefined : judged[kind]?.[text]) ?? own[text]
      return JSON.stringify(expected) !== JSON.stringify(actual[kind]?.[text])
    }),
  )
  return wrong.length === 0
    ? null
    : `other ids for ${JSON.stringify(wrong[0]?.slice(0, 60))}${judged === 'same' ? ', which change nothing in transformers' : ''}`
}

test.each(all.map((item) => [`${item.class} with ${item.files.join(', ')}`, item] as const))(
  '%s: each changed key gives the ids of transformers, or is refused',
  (_, item) => {
    const contents = contentsOf(item)
    expect(idsOf(item, contents)).toEqual(item.output)
    const [same, error] = [item.results.indexOf('same'), item.results.indexOf('error')]
    expect(item.changes.filter(([, , result]) => result === same).length).toBeGreaterThan(150)
    expect(item.changes.filter(([, , result]) => result === error).length).toBeGreaterThan(5)
    expect(item.changes.filter(([, , result]) => result !== same && result !== error).length).toBeGreaterThan(40)
    const faults = item.changes.flatMap((change) => {
      const found = fault(item, contents, change)
      const value = change.length < 4 ? 'left out' : JSON.stringify(change[3])
      return found === null ? [] : [`${change[0]} ${change[1].join('.')} ${value}: ${found}`]
    })
    expect(faults).toEqual([])
  },
)
