/** Reads a tokenizer's folder and makes the tokenizer of its class. */

import { maxConfigBytes, readConfig } from '../../checkpoint/layouts/model-index.js'
import { CheckpointError } from '../../errors.js'
import { readSentencePieceModel } from '../../tokenizers/sentencepiece-model.js'
import type { Tokenizer, TokenizerDefinition, TokenizerFiles } from '../../tokenizers/types.js'
import { inFolder, type ComponentSource } from './component-sources.js'

const sentencePieceName = 'spiece.model'

/** @throws CheckpointError `tokenizer-*`, `json-*`; UnsupportedError `tokenizer-*`; HubError */
export async function loadTokenizer(
  Tokenizer: TokenizerDefinition,
  source: ComponentSource,
  signal: AbortSignal | undefined,
): Promise<Tokenizer> {
  return new Tokenizer(await readTokenizerFiles(Tokenizer, source, signal))
}

/** The files of a tokenizer that the folder has. */
async function readTokenizerFiles(
  { readsSentencePiece }: TokenizerDefinition,
  source: ComponentSource,
  signal: AbortSignal | undefined,
): Promise<TokenizerFiles> {
  const { repository } = source
  const paths = new Set((await repository.files({ signal })).map((file) => file.path))
  const json = async (name: string) =>
    paths.has(inFolder(source, name)) ? readConfig(repository, inFolder(source, name), { signal }) : undefined
  const tokenizerJson = await json('tokenizer.json')
  const [tokenizerConfig, specialTokensMap, vocab, merges] = await Promise.all([
    json('tokenizer_config.json'),
    json('special_tokens_map.json'),
    tokenizerJson === undefined ? json('vocab.json') : undefined,
    tokenizerJson === undefined && paths.has(inFolder(source, 'merges.txt')) ? readText(source, 'merges.txt', signal) : undefined,
  ])
  const bare = readsSentencePiece && tokenizerJson === undefined && paths.has(inFolder(source, sentencePieceName))
  const sentencePiece = bare
    ? readSentencePieceModel(await readSmall(source, sentencePieceName, signal), tokenizerConfig?.['extra_ids'])
    : undefined
  return { tokenizerJson: tokenizerJson ?? sentencePiece, tokenizerConfig, specialTokensMap, vocab, merges }
}

async function readText(source: ComponentSource, name: string, signal: AbortSignal | undefined): Promise<string> {
  return new TextDecoder().decode(await readSmall(source, name, signal))
}

async function readSmall(
  source: ComponentSource,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const path = inFolder(source, name)
  const file = await source.repository.open(path, { signal, maxBytes: maxConfigBytes })
  if (file.byteLength > maxConfigBytes)
    throw new CheckpointError('tokenizer-file', `${path} is ${file.byteLength} bytes long; at most ${maxConfigBytes} are read.`, {
      file: path,
      bytes: file.byteLength,
      allowed: maxConfigBytes,
    })
  return file.read({ begin: 0, end: file.byteLength }, { signal })
}
