/** Reads the vocabulary and the merges that tokenizers with byte-pair encoding have: CLIP's and Qwen's. */

import { CheckpointError } from '../errors.js'
import type { TokenizerFiles } from './types.js'

/** The vocabulary and the merges of a byte-pair encoding. */
export interface BytePairs {
  readonly vocab: Readonly<Record<string, number>>
  readonly merges: readonly (readonly [string, string])[]
}

/** Reads vocabulary and merges from tokenizer.json, or from vocab.json and merges.txt. @throws CheckpointError `tokenizer-vocabulary`, `tokenizer-merges` */
export function readBytePairs(files: TokenizerFiles): BytePairs {
  const model = files.tokenizerJson?.['model']
  const fromJson = typeof model === 'object' && model !== null ? (model as Readonly<Record<string, unknown>>) : null
  const vocab = fromJson?.['vocab'] ?? files.vocab
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab))
    throw new CheckpointError(
      'tokenizer-vocabulary',
      'The tokenizer has neither vocab.json nor a BPE vocabulary in tokenizer.json.',
    )
  for (const [token, id] of Object.entries(vocab)) {
    if (!Number.isInteger(id) || id < 0 || id > 10_000_000)
      throw new CheckpointError(
        'tokenizer-vocabulary',
        `Token ${JSON.stringify(token.slice(0, 100))} of the tokenizer has no valid id.`,
        {
          token: token.slice(0, 100),
        },
      )
  }
  const merges = fromJson?.['merges'] ?? files.merges?.split('\n').filter((line) => line !== '' && !line.startsWith('#version'))
  if (!Array.isArray(merges))
    throw new CheckpointError('tokenizer-merges', 'The tokenizer has neither merges.txt nor merges in tokenizer.json.')
  return { vocab: vocab as BytePairs['vocab'], merges: merges.map((merge: unknown) => readMerge(merge)) }
}

/** A merge is a pair, or a string of both parts with a space between them. */
function readMerge(merge: unknown): readonly [string, string] {
  const parts: unknown[] = typeof merge === 'string' ? merge.trimEnd().split(' ') : Array.isArray(merge) ? merge : []
  const [first, second] = parts
  if (parts.length !== 2 || typeof first !== 'string' || typeof second !== 'string')
    throw new CheckpointError(
      'tokenizer-merges',
      `The tokenizer's merge ${JSON.stringify(merge)?.slice(0, 100)} is not a pair of tokens.`,
    )
  return [first, second]
}
