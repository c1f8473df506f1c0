/**
 * Reads SentencePiece's own file (`spiece.model`), for T5 repositories that have no tokenizer.json. The result has the form of a
 * tokenizer.json: the pieces of a unigram model, their scores, and the normalizer's table. Other kinds of models are refused. Only the
 * needed part of Protocol Buffers' wire format is read, with limits. The result does not say how a text is split into words, because the
 * file does not contain this. Source: SentencePiece's `sentencepiece_model.proto`; the tokens for masked spans at the end are transformers'
 * (`T5Converter`).
 */

import { CheckpointError, UnsupportedError } from '../errors.js'

/** The numbers of the messages' fields in sentencepiece_model.proto. */
const fields = {
  model: { pieces: 1, trainer: 2, normalizer: 3 },
  piece: { text: 1, score: 2, type: 3 },
  trainer: { modelType: 3 },
  normalizer: { charsmap: 2 },
} as const
const unigram = 1
const unknownPiece = 2
const controlPiece = 3
const userDefinedPiece = 4
const maxExtraIds = 1000

/** The result's key for the model's tokens: control pieces, user-defined pieces, and the tokens for masked spans. */
export const sentencePieceTokens = 'sentencepiece_tokens'

type Json = Readonly<Record<string, unknown>>

/**
 * Converts a unigram model to the parts of a tokenizer.json. `extraIds` is `extra_ids` of tokenizer_config.json, 100 if it is
 * absent: the number of `<extra_id_n>` tokens after the pieces.
 * @throws CheckpointError `tokenizer-sentencepiece`; UnsupportedError `tokenizer-model`
 */
export function readSentencePieceModel(bytes: Uint8Array, extraIds: unknown = 100): Json {
  if (typeof extraIds !== 'number' || !Number.isInteger(extraIds) || extraIds < 0 || extraIds > maxExtraIds)
    throw broken(`extra_ids is ${JSON.stringify(extraIds)}; expected a whole number up to ${maxExtraIds}`)
  const vocab: [string, number][] = []
  const special: Json[] = []
  let unknown = -1
  let modelType: number = unigram
  let charsmap: Uint8Array | undefined
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  for (const { field, value } of messageFields(bytes)) {
    if (field === fields.model.pieces) {
      let [text, score, type] = ['', 0, 1]
      for (const part of messageFields(asBytes(value))) {
        if (part.field === fields.piece.text) text = decodeText(decoder, asBytes(part.value))
        else if (part.field === fields.piece.score) score = asFloat(part.value)
        else if (part.field === fields.piece.type) type = asNumber(part.value)
      }
      if (type === unknownPiece && unknown < 0) unknown = vocab.length
      if (type === controlPiece || type === userDefinedPiece)
        special.push({ content: text, normalized: false, special: type === controlPiece })
      vocab.push([text, score])
    } else if (field === fields.model.trainer) {
      for (const part of messageFields(asBytes(value)))
        if (part.field === fields.trainer.modelType) modelType = asNumber(part.value)
    } else if (field === fields.model.normalizer) {
      for (const part of messageFields(asBytes(value)))
        if (part.field === fields.normalizer.charsmap) charsmap = asBytes(part.value)
    }
  }
  if (modelType !== unigram)
    throw new UnsupportedError(
      'tokenizer-model',
      `The SentencePiece model is of type ${modelType}; only unigram (1) is supported.`,
      {
        modelType,
        supported: [unigram],
      },
    )
  if (unknown < 0) throw broken('it has no piece for unknown text')
  for (let id = extraIds - 1; id >= 0; id--) {
    const content = `<extra_id_${id}>`
    special.push({ content, normalized: false, special: true })
    vocab.push([content, 0])
  }
  const normalizer =
    charsmap === undefined || charsmap.length === 0 ? null : { type: 'Precompiled', precompiled_charsmap: encodeBase64(charsmap) }
  const model = { type: 'Unigram', unk_id: unknown, vocab, byte_fallback: false }
  return { [sentencePieceTokens]: special, normalizer, model }
}

/** A field's value: a varint, four bytes, or bytes of any length. Fields of eight bytes are skipped. */
type Value = number | Uint8Array

/** Reads the fields of a message, in order. */
function* messageFields(bytes: Uint8Array): Generator<{ readonly field: number; readonly value: Value }> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++]
      if (byte === undefined) throw broken('it ends in the middle of a field')
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw broken('a number in it is longer than ten bytes')
  }
  const take = (count: number): Uint8Array => {
    if (count > bytes.length - at) throw broken('it ends in the middle of a field')
    at += count
    return bytes.subarray(at - count, at)
  }
  while (at < bytes.length) {
    const tag = varint()
    const field = Math.floor(tag / 8)
    const wire = tag % 8
    if (wire === 0) yield { field, value: varint() }
    else if (wire === 2) yield { field, value: take(varint()) }
    else if (wire === 5) yield { field, value: take(4) }
    else if (wire === 1) take(8)
    else throw broken(`it has a field of wire type ${wire}`)
  }
}

function asBytes(value: Value): Uint8Array {
  if (typeof value === 'number') throw broken('a field that should hold bytes holds a number')
  return value
}

function asNumber(value: Value): number {
  if (typeof value !== 'number') throw broken('a field that should hold a number holds bytes')
  return value
}

function asFloat(value: Value): number {
  const bytes = asBytes(value)
  if (bytes.length !== 4) throw broken('a score is not four bytes long')
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getFloat32(0, true)
}

function decodeText(decoder: TextDecoder, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw broken('a piece is not UTF-8')
  }
}

function encodeBase64(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192))
  return btoa(text)
}

function broken(what: string): CheckpointError {
  return new CheckpointError('tokenizer-sentencepiece', `The SentencePiece model is broken: ${what}.`)
}
