/** A CLIP text encoder with its tokenizer: from a text to the hidden state and pooled vector that a denoiser is shown. */

import { clipPooling, clipTokenEmbedding, type ClipTextClass } from '../../models/text-encoders/clip-text-model.js'
import { InputError } from '../../errors.js'
import type { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import type { ComponentHost, Value } from '../execution/component-host.js'
import { float32Tensor } from './tensors.js'
import type { GraphVariant, Network } from '../bind-network.js'
import { failuresOf } from '../execution/recovery.js'
import type { EncodeCall } from './prompt-embeds.js'
import { readTokenRows } from './token-rows.js'

/** Which of the encoder's outputs a pipeline wants. */
export type ClipOutput = 'last_hidden_state' | 'hidden_state'

export interface ClipEncoding {
  /** [1, sequenceLength, width] */
  readonly hidden: Value
  /** `text_embeds` [1, projection], from encoders with a projection. */
  readonly pooled: Value | null
}

/** One CLIP text encoder of a pipeline. */
export class ClipTextEncoder {
  readonly #network: Network
  readonly #tokenizer: CLIPTokenizer
  readonly #host: ComponentHost
  readonly #className: ClipTextClass

  constructor(network: Network, tokenizer: CLIPTokenizer, host: ComponentHost) {
    this.#network = network
    this.#tokenizer = tokenizer
    this.#host = host
    this.#className = network.className === 'CLIPTextModelWithProjection' ? 'CLIPTextModelWithProjection' : 'CLIPTextModel'
  }

  /** Layers of the network: `clip_skip` must stay below. */
  get layers(): number {
    const value = this.#network.config['num_hidden_layers']
    return typeof value === 'number' ? value : 12
  }

  /** Encodes one text; what does not fit is cut away with a warning, as in diffusers. */
  async encode(text: string, output: ClipOutput, call: EncodeCall, variant: GraphVariant = {}): Promise<ClipEncoding> {
    const { next, keep, run } = call
    const { config, table } = this.#network
    const { inputIds, removedText } = this.#tokenizer.encodePadded(text)
    if (removedText !== null)
      run.warn(
        'prompt-truncated',
        `The following part of your input was truncated because CLIP can only handle sequences up to ${this.#tokenizer.modelMaxLength} tokens: ${removedText}`,
        { once: true },
      )
    const length = inputIds.length
    const embedding = clipTokenEmbedding(this.#className, config)
    const rows = await readTokenRows(table, embedding, inputIds, run.signal)
    const inputs = {
      inputs_embeds: float32Tensor([1, length, embedding.width], rows),
      pooling: float32Tensor([1, length], clipPooling(this.#className, config, inputIds, length)),
    }
    const wanted = this.#className === 'CLIPTextModelWithProjection' ? ([output, 'text_embeds'] as const) : ([output] as const)
    const outputs = await failuresOf({ host: this.#host, network: this.#network }, () =>
      this.#host.runFor<ClipOutput | 'text_embeds'>(next, this.#network, inputs, wanted, run, variant),
    )
    return { hidden: keep(outputs[output]), pooled: keep(outputs['text_embeds']) ?? null }
  }
}

/** @throws InputError `clip-skip` unless it is a whole number that leaves a layer */
export function checkClipSkip(clipSkip: number | undefined, layers: number): void {
  if (clipSkip === undefined) return
  if (!Number.isInteger(clipSkip) || clipSkip < 0 || clipSkip >= layers)
    throw new InputError('clip-skip', `clipSkip is ${clipSkip}; allowed are whole numbers from 0 to ${layers - 1}.`, {
      clipSkip,
      allowed: layers - 1,
    })
}
