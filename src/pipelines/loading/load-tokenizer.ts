/** Reads the files of a tokenizer component and makes the tokenizer of its class. */

import { CheckpointError, UnsupportedError } from '../../errors.js'
import { knownContentError } from '../../util/known-content.js'
import { readSentencePieceModel } from '../../tokenizers/sentencepiece-model.js'
import type { Tokenizer, TokenizerDefinition, TokenizerFiles } from '../../tokenizers/types.js'
import type { ComponentFiles } from '../../checkpoint/layouts/layout.js'
import { parseConfig, type JsonLimits } from '../../checkpoint/read-config.js'
import type { Config } from '../../checkpoint/types.js'

const sentencePieceName = 'spiece.model'

/**
 * The limits of files with a vocabulary. Qwen's tokenizer.json is 11.4 MB long, and its 151,643 words and as many pairs take 45 MB of
 * memory.
 */
export const vocabularyLimits: JsonLimits = { maxBytes: 32_000_000, maxTreeBytes: 96_000_000 }

/** Loads the tokenizer of a component's folder. @throws CheckpointError `tokenizer-*`, `json-*`; UnsupportedError `tokenizer-*`; HubError */
export async function loadTokenizer(
  Tokenizer: TokenizerDefinition,
  component: ComponentFiles,
  signal: AbortSignal | undefined,
): Promise<Tokenizer> {
  return new Tokenizer(await readTokenizerFiles(Tokenizer, component, signal))
}

/** Reads those files of a tokenizer that exist in the component's folder. */
async function readTokenizerFiles(
  { readsSentencePiece, hasChats = false }: TokenizerDefinition,
  component: ComponentFiles,
  signal: AbortSignal | undefined,
): Promise<TokenizerFiles> {
  const json = async (name: string) =>
    (await component.has(name, { signal })) ? component.readConfig(name, { signal }) : undefined
  const vocabulary = async (name: string) =>
    (await component.has(name, { signal }))
      ? parseConfig(await readWhole(component, name, signal), component.path(name), vocabularyLimits)
      : undefined
  const tokenizerJson = await vocabulary('tokenizer.json')
  const text = async (name: string) => ((await component.has(name, { signal })) ? readText(component, name, signal) : undefined)
  const [tokenizerConfig, specialTokensMap, addedTokens, vocab, merges, chatTemplate] = await Promise.all([
    json('tokenizer_config.json'),
    json('special_tokens_map.json'),
    json('added_tokens.json'),
    tokenizerJson === undefined ? vocabulary('vocab.json') : undefined,
    tokenizerJson === undefined ? text('merges.txt') : undefined,
    hasChats ? text('chat_template.jinja') : undefined,
  ])
  await checkFileOfVersion(component, tokenizerConfig, signal)
  const bare = readsSentencePiece && tokenizerJson === undefined && (await component.has(sentencePieceName, { signal }))
  const sentencePiece = bare
    ? readSentencePieceModel(await readWhole(component, sentencePieceName, signal), tokenizerConfig?.['extra_ids'])
    : undefined
  return {
    tokenizerJson: tokenizerJson ?? sentencePiece,
    tokenizerConfig,
    specialTokensMap,
    addedTokens,
    vocab,
    merges,
    chatTemplate,
  }
}

/**
 * Refuses a config whose `fast_tokenizer_files` names an existing file other than tokenizer.json: some versions of transformers read that
 * file instead. @throws UnsupportedError `tokenizer-model`
 */
async function checkFileOfVersion(
  component: ComponentFiles,
  config: Config | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const key = 'fast_tokenizer_files'
  const named: unknown = config?.[key]
  for (const name of Array.isArray(named) ? named : []) {
    if (typeof name !== 'string' || name === 'tokenizer.json' || !(await component.has(name, { signal }))) continue
    throw new UnsupportedError(
      'tokenizer-model',
      `${key} of the tokenizer names ${name.slice(0, 100)}; Aquatint reads only tokenizer.json.`,
      {
        key,
        value: name.slice(0, 100),
      },
    )
  }
}

async function readText(component: ComponentFiles, name: string, signal: AbortSignal | undefined): Promise<string> {
  const bytes = await readWhole(component, name, signal)
  // Without this check, the lines of a Git LFS pointer would be taken for merges.
  const other = knownContentError(bytes, component.path(name))
  if (other !== undefined && bytes.length > 0) throw other
  return new TextDecoder().decode(bytes)
}

async function readWhole(
  component: ComponentFiles,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const path = component.path(name)
  const file = await component.open(name, { signal, maxBytes: vocabularyLimits.maxBytes })
  if (file.byteLength > vocabularyLimits.maxBytes)
    throw new CheckpointError(
      'tokenizer-file',
      `${path} is ${file.byteLength} bytes long; at most ${vocabularyLimits.maxBytes} are read.`,
      {
        file: path,
        bytes: file.byteLength,
        allowed: vocabularyLimits.maxBytes,
      },
    )
  return file.read({ begin: 0, end: file.byteLength }, { signal })
}
