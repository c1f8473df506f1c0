/** Reads the files of a tokenizer component and makes the tokenizer of its class. */

import { CheckpointError } from '../../errors.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { readSentencePieceModel } from '../../tokenizers/sentencepiece-model.js'
import { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import type { TokenizerFiles } from '../../tokenizers/types.js'
import type { ComponentFiles } from '../../checkpoint/layouts/layout.js'
import { maxConfigBytes } from '../../checkpoint/read-config.js'

const sentencePieceName = 'spiece.model'

/** The kinds of tokenizer, by the network that reads their ids. */
export type TokenizerKind = 'clip' | 't5'
export type AnyTokenizer = CLIPTokenizer | T5Tokenizer

/** transformers' classes of each kind. */
export const tokenizerClasses: Readonly<Record<TokenizerKind, readonly string[]>> = {
  clip: ['CLIPTokenizer', 'CLIPTokenizerFast'],
  t5: ['T5TokenizerFast', 'T5Tokenizer'],
}

/** @throws CheckpointError `tokenizer-*`, `json-*`; UnsupportedError `tokenizer-*`; HubError */
export async function loadTokenizer(
  kind: TokenizerKind,
  component: ComponentFiles,
  signal: AbortSignal | undefined,
): Promise<AnyTokenizer> {
  const files = await readTokenizerFiles(kind, component, signal)
  return kind === 'clip' ? new CLIPTokenizer(files) : new T5Tokenizer(files)
}

/** Whatever files of a tokenizer the folder has. */
async function readTokenizerFiles(
  kind: TokenizerKind,
  component: ComponentFiles,
  signal: AbortSignal | undefined,
): Promise<TokenizerFiles> {
  const json = async (name: string) =>
    (await component.has(name, { signal })) ? component.readConfig(name, { signal }) : undefined
  const tokenizerJson = await json('tokenizer.json')
  const [tokenizerConfig, specialTokensMap, vocab, merges] = await Promise.all([
    json('tokenizer_config.json'),
    json('special_tokens_map.json'),
    tokenizerJson === undefined ? json('vocab.json') : undefined,
    tokenizerJson === undefined && (await component.has('merges.txt', { signal }))
      ? readText(component, 'merges.txt', signal)
      : undefined,
  ])
  const bare = kind === 't5' && tokenizerJson === undefined && (await component.has(sentencePieceName, { signal }))
  const sentencePiece = bare
    ? readSentencePieceModel(await readSmall(component, sentencePieceName, signal), tokenizerConfig?.['extra_ids'])
    : undefined
  return { tokenizerJson: tokenizerJson ?? sentencePiece, tokenizerConfig, specialTokensMap, vocab, merges }
}

async function readText(component: ComponentFiles, name: string, signal: AbortSignal | undefined): Promise<string> {
  return new TextDecoder().decode(await readSmall(component, name, signal))
}

async function readSmall(
  component: ComponentFiles,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const path = component.path(name)
  const file = await component.open(name, { signal, maxBytes: maxConfigBytes })
  if (file.byteLength > maxConfigBytes)
    throw new CheckpointError('tokenizer-file', `${path} is ${file.byteLength} bytes long; at most ${maxConfigBytes} are read.`, {
      file: path,
      bytes: file.byteLength,
      allowed: maxConfigBytes,
    })
  return file.read({ begin: 0, end: file.byteLength }, { signal })
}
