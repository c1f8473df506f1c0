/** A CLIP text encoder with its tokenizer: from a text to the hidden state and pooled vector that a denoiser is shown. */

import type { GraphVariant, TextEncoderModel } from '../../models/types.js'
import { InputError } from '../../errors.js'
import type { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import type { ComponentHost, Value } from '../execution/component-host.js'
import { failuresOf } from '../execution/recovery.js'
import { float32Tensor } from './tensors.js'
import type { Network } from '../bind-network.js'
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
  readonly #network: Network<TextEncoderModel>
  readonly #tokenizer: CLIPTokenizer
  readonly #host: ComponentHost

  constructor(network: Network<TextEncoderModel>, tokenizer: CLIPTokenizer, host: ComponentHost) {
    this.#network = network
    this.#tokenizer = tokenizer
    this.#host = host
  }

  /** Layers of the network: `clip_skip` must stay below. */
  get layers(): number {
    return this.#network.model.layers
  }

  /** Encodes one text; what does not fit is cut away with a warning, as in diffusers. */
  async encode(text: string, output: ClipOutput, call: EncodeCall, variant: GraphVariant = {}): Promise<ClipEncoding> {
    const { next, keep, run } = call
    const { model, table } = this.#network
    const { inputIds, removedText } = this.#tokenizer.encodePadded(text)
    if (removedText !== null)
      run.warn(
        'prompt-truncated',
        `The following part of your input was truncated because CLIP can only handle sequences up to ${this.#tokenizer.fixedLength} tokens: ${removedText}`,
        { once: true },
      )
    const length = inputIds.length
    const rows = await readTokenRows(table, model.tokenEmbedding, inputIds, run.signal)
    const computed = Object.entries(model.hostInputs(inputIds, length))
    const inputs = {
      inputs_embeds: float32Tensor([1, length, model.tokenEmbedding.width], rows),
      ...Object.fromEntries(computed.map(([name, { dims, data }]) => [name, float32Tensor(dims, data)])),
    }
    const { pooledOutput } = model
    const wanted: string[] = pooledOutput === null ? [output] : [output, pooledOutput]
    const outputs = await failuresOf({ host: this.#host, network: this.#network }, () =>
      this.#host.runFor(next, this.#network, inputs, wanted, run, variant),
    )
    const hidden = outputs[output]
    if (hidden === undefined) throw new Error(`${model.className} gave no ${output}`)
    const pooled = pooledOutput === null ? undefined : outputs[pooledOutput]
    return { hidden: keep(hidden), pooled: pooled === undefined ? null : keep(pooled) }
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
