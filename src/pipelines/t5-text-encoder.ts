/** T5's encoder with its tokenizer: from a text to hidden states. */

import { t5TokenEmbedding } from '../models/t5-encoder-model.js'
import type { T5Tokenizer } from '../tokenizers/t5-tokenizer.js'
import { hostTensor, type ComponentHost } from './component-host.js'
import type { Network } from './networks.js'
import type { Run } from './run-hooks.js'
import { readTokenRows } from './token-rows.js'
import type { PlainTensor } from './types.js'

/** The T5 text encoder of a pipeline. */
export class T5TextEncoder {
  readonly #network: Network
  readonly #tokenizer: T5Tokenizer
  readonly #host: ComponentHost

  constructor(network: Network, tokenizer: T5Tokenizer, host: ComponentHost) {
    this.#network = network
    this.#tokenizer = tokenizer
    this.#host = host
  }

  /** Encodes one text as [1, maxLength, d_model]; what does not fit is cut away with a warning, as in diffusers. */
  async encode(text: string, maxLength: number, run: Run): Promise<PlainTensor> {
    const { inputIds, removedText } = this.#tokenizer.encodePadded(text, maxLength)
    if (removedText !== null)
      run.warn(
        'prompt-truncated',
        `The following part of your input was truncated because maxSequenceLength is set to ${maxLength} tokens: ${removedText}`,
      )
    const embedding = t5TokenEmbedding(this.#network.config)
    const rows = await readTokenRows(this.#network.table, embedding, inputIds, run.signal)
    const dims = [1, maxLength, embedding.width]
    const outputs = await this.#host.run(this.#network, { inputs_embeds: hostTensor(dims, rows) }, ['last_hidden_state'], run)
    return { dims, data: outputs.last_hidden_state }
  }
}
