/** T5's encoder with its tokenizer: from a text to hidden states. */

import type { TextEncoderModel } from '../../models/types.js'
import type { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import type { ComponentHost, Value } from '../execution/component-host.js'
import { float32Tensor } from './tensors.js'
import type { Network } from '../bind-network.js'
import { failuresOf } from '../execution/recovery.js'
import type { EncodeCall } from './prompt-embeds.js'
import { readTokenRows } from './token-rows.js'

/** The T5 text encoder of a pipeline. */
export class T5TextEncoder {
  readonly #network: Network<TextEncoderModel>
  readonly #tokenizer: T5Tokenizer
  readonly #host: ComponentHost

  constructor(network: Network<TextEncoderModel>, tokenizer: T5Tokenizer, host: ComponentHost) {
    this.#network = network
    this.#tokenizer = tokenizer
    this.#host = host
  }

  /** Encodes one text as [1, maxLength, d_model]; what does not fit is cut away with a warning, as in diffusers. */
  async encode(text: string, maxLength: number, { next, keep, run }: EncodeCall): Promise<Value> {
    const { inputIds, removedText } = this.#tokenizer.encodePadded(text, maxLength)
    if (removedText !== null)
      run.warn(
        'prompt-truncated',
        `The following part of your input was truncated because maxSequenceLength is set to ${maxLength} tokens: ${removedText}`,
        { once: true },
      )
    const embedding = this.#network.model.tokenEmbedding
    const rows = await readTokenRows(this.#network.table, embedding, inputIds, run.signal)
    const inputs = { inputs_embeds: float32Tensor([1, maxLength, embedding.width], rows) }
    const outputs = await failuresOf({ host: this.#host, network: this.#network }, () =>
      this.#host.runFor(next, this.#network, inputs, ['last_hidden_state'], run),
    )
    return keep(outputs.last_hidden_state)
  }
}
