/** All tokenizers, by the names of their classes in transformers. A new tokenizer is added here. */

import { CLIPTokenizer } from './clip-tokenizer.js'
import { Qwen2Tokenizer } from './qwen2-tokenizer.js'
import { T5Tokenizer } from './t5-tokenizer.js'
import type { TokenizerDefinition } from './types.js'

export const tokenizerDefinitions: readonly TokenizerDefinition[] = [CLIPTokenizer, T5Tokenizer, Qwen2Tokenizer]
