/**
 * The special and added tokens of a tokenizer: which text has which role, how to search for each in a prompt, and which id it has. As in
 * transformers, tokenizer_config.json alone defines the tokens if it has `added_tokens_decoder`, a key that transformers 4.34
 * introduced. Without this key, special_tokens_map.json overrides tokenizer_config.json, and added_tokens.json and the added tokens of
 * tokenizer.json are read.
 */

import { CheckpointError, UnsupportedError } from '../errors.js'
import { sentencePieceTokens } from './sentencepiece-model.js'
import { settingsOf, type TokenizerFiles } from './types.js'

/** An added token as in tokenizer.json. `normalized` means that the token is searched for in the normalized text. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
  readonly special: boolean
  /** Whether the token is searched for in a text: with `split_special_tokens`, special tokens are not. */
  readonly searched: boolean
}

/** A token as the files define it, without its id. */
type FoundToken = Omit<AddedToken, 'id' | 'searched'>

/** The vocabulary without the added tokens. */
export interface Vocabulary {
  readonly size: number
  /** The id of a token; undefined for texts that are not in the vocabulary. */
  readonly idOf: (content: string) => number | undefined
}

export interface SpecialTokens<Role extends string> {
  /** The texts of the roles. Empty texts, which are no tokens, have the id of `unk_token` in transformers. */
  readonly roles: Readonly<Record<Role, string>>
  readonly tokens: readonly AddedToken[]
}

const maxTokens = 100_000

/** The roles of transformers' tokenizers, in the order in which their tokens get ids. */
const allRoles = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const

/** @param name the key that has the token, for error messages */
function readToken(value: unknown, special: boolean, name: string): FoundToken {
  const fields = asObject(value)
  // If a token has no `content`, transformers uses the empty string.
  const content = typeof value === 'string' ? value : isToken(value) ? (fields['content'] ?? '') : undefined
  if (typeof content !== 'string' || content.length > 1000) {
    const shown = JSON.stringify(value)?.slice(0, 100) ?? 'undefined'
    throw new CheckpointError('tokenizer-token', `${name} of the tokenizer is ${shown}; expected a string.`, {
      key: name,
      value: shown,
    })
  }
  const flag = (name: string, fallback: boolean) => (typeof fields[name] === 'boolean' ? fields[name] : fallback)
  const isSpecial = flag('special', special)
  return {
    content,
    single_word: flag('single_word', false),
    lstrip: flag('lstrip', false),
    rstrip: flag('rstrip', false),
    normalized: flag('normalized', !special),
    special: isSpecial,
  }
}

/**
 * Collects the roles and all added tokens with their ids. `addsSpecial`: the tokenizer class adds its special tokens again, by their texts
 * alone. So no special token can be missing, and all of them are searched for before normalizing.
 * @throws CheckpointError `tokenizer-token`
 */
export function readAddedTokens<Role extends (typeof allRoles)[number]>(
  files: TokenizerFiles,
  defaults: Readonly<Record<Role, string>>,
  vocabulary: Vocabulary,
  addsSpecial = false,
): SpecialTokens<Role> {
  const decoder = files.tokenizerConfig?.['added_tokens_decoder']
  const settings = settingsOf(files)
  checkFileOfVersion(files)
  const roles: Record<Role, string> = { ...defaults }
  const isOwn = (role: (typeof allRoles)[number]): role is Role => Object.hasOwn(defaults, role)
  const byRole = new Map<string, FoundToken>()
  for (const role of allRoles) {
    const value = settings[role] ?? (isOwn(role) ? defaults[role] : undefined)
    if (value === undefined || (role === 'unk_token' && settings[role] === null)) continue
    const token = readToken(value, true, role)
    if (isOwn(role)) roles[role] = token.content
    // If two roles have the same text, the later one determines how to search for it, as in transformers.
    if (token.content !== '') byRole.set(token.content, token)
  }
  const extra = readExtra(settings, files)
  const special = new Set([...byRole.keys(), ...extra.map(({ content }) => content)])
  const listed = decoder === undefined ? listedTokens(files, special) : decodedTokens(decoder)
  const count = listed.length + extra.length
  if (count > maxTokens)
    throw new CheckpointError('tokenizer-token', `The tokenizer has ${count} added tokens; at most ${maxTokens} are allowed.`)
  const tokens = new Map<string, FoundToken>()
  for (const token of listed) if (token.content !== '') tokens.set(token.content, token)
  for (const role of allRoles) {
    // A special token that the settings name gets an id even if the vocabulary lacks it. The class's default token must be in the files,
    // otherwise the files are incomplete.
    if (addsSpecial || !isOwn(role) || (settings[role] ?? null) !== null || tokens.has(roles[role])) continue
    if (vocabulary.idOf(roles[role]) === undefined)
      throw new CheckpointError(
        'tokenizer-token',
        `The special token ${JSON.stringify(roles[role])} is not in the tokenizer's vocabulary.`,
        { token: roles[role] },
      )
  }
  for (const token of [...byRole.values(), ...extra]) if (!tokens.has(token.content)) tokens.set(token.content, token)
  if (addsSpecial) for (const content of special) tokens.set(content, readToken(content, true, 'a special token'))
  const splits = settings['split_special_tokens'] === true
  const found = [...tokens.values()].map((token) => Object.assign(token, { searched: !(splits && token.special) }))
  return { roles, tokens: withIds(found, vocabulary) }
}

/**
 * Refuses tokenizers for which transformers reads another file than tokenizer.json, because `fast_tokenizer_files` names one for its
 * version.
 * @throws UnsupportedError `tokenizer-model`
 */
function checkFileOfVersion({ tokenizerJson, tokenizerConfig }: TokenizerFiles): void {
  const key = 'fast_tokenizer_files'
  const named = tokenizerConfig?.[key]
  if (tokenizerJson?.['added_tokens'] === undefined || !Array.isArray(named) || named.every((name) => name === 'tokenizer.json'))
    return
  const value = JSON.stringify(named).slice(0, 100)
  throw new UnsupportedError('tokenizer-model', `${key} of the tokenizer is ${value}; Aquatint reads only tokenizer.json.`, {
    key,
    value,
  })
}

/** The id of a role's token. @throws CheckpointError `tokenizer-token` */
export function roleId<Role extends string>(
  { roles, tokens }: SpecialTokens<Role | 'unk_token'>,
  role: NoInfer<Role> | 'unk_token',
  vocabulary: Vocabulary,
): number {
  const content = roles[role] === '' ? roles.unk_token : roles[role]
  const id = tokens.find((token) => token.content === content)?.id ?? vocabulary.idOf(content)
  if (id === undefined)
    throw new CheckpointError('tokenizer-token', `${role} ${JSON.stringify(content)} is not in the tokenizer's vocabulary.`, {
      token: content,
    })
  return id
}

/** The tokens of `added_tokens_decoder` (tokens by id), in the order of their ids. */
function decodedTokens(decoder: unknown): FoundToken[] {
  return Object.entries(asObject(decoder))
    .toSorted(([a], [b]) => Number(a) - Number(b))
    .map(([, token]) => readToken(token, false, 'a token of added_tokens_decoder'))
}

/** The added tokens of added_tokens.json (ids by text) and of tokenizer.json, in the order of their ids. */
function listedTokens(files: TokenizerFiles, special: ReadonlySet<string>): FoundToken[] {
  const byId = new Map<number, FoundToken>()
  for (const [content, id] of Object.entries(files.addedTokens ?? {})) {
    // transformers also accepts an id that is a whole number written as a text.
    if (!Number.isInteger(typeof id === 'string' && id !== '' ? Number(id) : id))
      throw new CheckpointError(
        'tokenizer-token',
        `${JSON.stringify(content.slice(0, 100))} in added_tokens.json has the id ${JSON.stringify(id)?.slice(0, 100)}; expected a whole number.`,
      )
    byId.set(Number(id), readToken(content, special.has(content), 'a token of added_tokens.json'))
  }
  const inJson = files.tokenizerJson?.['added_tokens']
  for (const token of Array.isArray(inJson) ? (inJson as unknown[]) : []) {
    const { id } = asObject(token)
    byId.set(typeof id === 'number' ? id : byId.size, readToken(token, false, 'a token of added_tokens'))
  }
  return [...byId].toSorted(([a], [b]) => a - b).map(([, token]) => token)
}

/**
 * Special tokens without a role: from a list, from objects that hold them by name, and from other keys that end in `_token`. The tokens
 * of a SentencePiece model are added only if the settings have no list, not even an empty one.
 */
function readExtra(
  settings: Readonly<Record<string, unknown>>,
  { tokenizerConfig, tokenizerJson }: TokenizerFiles,
): FoundToken[] {
  const { extra_special_tokens: current, model_specific_special_tokens: specific } = settings
  const ofModel = tokenizerJson?.[sentencePieceTokens]
  const former = (ofModel === undefined ? settings : (tokenizerConfig ?? {}))['additional_special_tokens']
  const key = isEmpty(current) ? 'additional_special_tokens' : 'extra_special_tokens'
  const given = isEmpty(current) && former !== undefined ? former : current
  const listed: unknown[] = Array.isArray(given) ? given : Object.values(asObject(given))
  if (Array.isArray(ofModel) && (given === undefined || isToken(given))) listed.push(...(ofModel as readonly unknown[]))
  const named = Object.entries(settings).filter(
    ([name, value]) => name.endsWith('_token') && !allRoles.some((role) => role === name) && typeof value === 'string',
  )
  return [
    ...[...named.map(([, value]) => value), ...listed].map((value) => readToken(value, true, `a token of ${key}`)),
    ...Object.values(asObject(specific)).map((value) => readToken(value, true, 'a token of model_specific_special_tokens')),
  ].filter(({ content }) => content !== '')
}

/**
 * Tokens in the vocabulary have their ids from there. The others get the next ids after the vocabulary's, one by one, whatever ids the file
 * gives them.
 */
function withIds(tokens: readonly Omit<AddedToken, 'id'>[], { size, idOf }: Vocabulary): AddedToken[] {
  let next = size
  return tokens.map((token) => {
    const id = idOf(token.content) ?? next
    next = Math.max(next, id + 1)
    return Object.assign(token, { id })
  })
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0)
}

function isToken(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
}
