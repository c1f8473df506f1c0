/**
 * The special tokens of a tokenizer: which text has which role, and how to search for each in a prompt. As in transformers, a later source overrides
 * an earlier one: the class's defaults, tokenizer_config.json, special_tokens_map.json, and the added tokens of
 * tokenizer.json or `added_tokens_decoder`.
 */

import { CheckpointError } from '../errors.js'
import type { TokenizerFiles } from './types.js'

/** An added token as in tokenizer.json. `normalized` means that the token is searched for after lowercasing. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
  readonly special: boolean
}

/** An added token. If it has no id, its id is that of its text in the vocabulary. */
type FoundToken = Omit<AddedToken, 'id'> & { readonly id: number | undefined }

export interface SpecialTokens<Role extends string> {
  readonly roles: Readonly<Record<Role, string>>
  readonly tokens: readonly FoundToken[]
}

const maxTokens = 100_000

function readToken(value: unknown, id: number | undefined, special: boolean): FoundToken {
  const fields = typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  const content = typeof value === 'string' ? value : fields['content']
  if (typeof content !== 'string' || content.length === 0 || content.length > 1000)
    throw new CheckpointError(
      'tokenizer-token',
      `A special token of the tokenizer is ${JSON.stringify(value)?.slice(0, 100)}; expected a string.`,
    )
  const flag = (name: string, fallback: boolean) => (typeof fields[name] === 'boolean' ? fields[name] : fallback)
  return {
    id: id ?? (typeof fields['id'] === 'number' ? fields['id'] : undefined),
    content,
    single_word: flag('single_word', false),
    lstrip: flag('lstrip', false),
    rstrip: flag('rstrip', false),
    normalized: flag('normalized', !special),
    special: flag('special', special),
  }
}

/** Collects the roles and all added tokens. @throws CheckpointError `tokenizer-token` */
export function readAddedTokens<Role extends string>(
  files: TokenizerFiles,
  defaults: Readonly<Record<Role, string>>,
): SpecialTokens<Role> {
  const tokens = new Map<string, FoundToken>()
  const roles: Record<Role, string> = { ...defaults }
  for (const role of Object.keys(defaults) as Role[]) {
    const value = files.specialTokensMap?.[role] ?? files.tokenizerConfig?.[role] ?? defaults[role]
    const token = readToken(value, undefined, true)
    roles[role] = token.content
    // If two roles have the same text, the later one determines how to search for it, as in transformers.
    tokens.set(token.content, token)
  }
  const decoder = files.tokenizerConfig?.['added_tokens_decoder']
  const listed: (readonly [unknown, number | undefined])[] = [
    ...Object.entries(typeof decoder === 'object' && decoder !== null ? decoder : {}).map(
      ([id, token]) => [token, Number(id)] as const,
    ),
    ...(Array.isArray(files.tokenizerJson?.['added_tokens']) ? files.tokenizerJson['added_tokens'] : []).map(
      (token: unknown) => [token, undefined] as const,
    ),
  ]
  if (listed.length > maxTokens)
    throw new CheckpointError(
      'tokenizer-token',
      `The tokenizer has ${listed.length} added tokens; at most ${maxTokens} are allowed.`,
    )
  for (const [value, id] of listed) {
    const token = readToken(value, id, false)
    tokens.set(token.content, token)
  }
  return { roles, tokens: [...tokens.values()] }
}
