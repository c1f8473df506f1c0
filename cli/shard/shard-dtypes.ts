/** The values of `--dtype`, for all components or one, and how they change a component's weights and config. */

import { InputError, UnsupportedError } from '../../src/errors.js'
import { castWeights, type OnOverflow } from '../../src/checkpoint/transforms/cast.js'
import { quantize } from '../../src/checkpoint/transforms/quantize.js'
import type { WeightTransform } from '../../src/checkpoint/transforms/transform-table.js'
import { findNetworkDefinition } from '../../src/models/registry.js'
import type { JsonObject } from '../../src/util/parse-json.js'
import type { ComponentContents } from '../read-contents.js'

const words = ['float32', 'float16', 'bfloat16', 'q8', 'q4'] as const
export type DTypeWord = (typeof words)[number]

/** Component name → value; '' applies to the components that are not named. */
export type DTypeChoice = ReadonlyMap<string, DTypeWord>

/** Parses values such as `q8` and `text_encoder_3=q4`. @throws InputError `dtype` */
export function parseDTypes(values: readonly string[]): DTypeChoice {
  const choice = new Map<string, DTypeWord>()
  for (const value of values) {
    const at = value.indexOf('=')
    const word = value.slice(at + 1)
    const name = at < 0 ? '' : value.slice(0, at)
    if (!isWord(word) || at === 0)
      throw new InputError(
        'dtype',
        `--dtype is ${JSON.stringify(value)}; expected ${words.join(', ')}, or one of them for a component, such as text_encoder_3=q4.`,
        {
          value,
          allowed: words,
        },
      )
    if (choice.has(name))
      throw new InputError('dtype', `--dtype is given twice for ${name === '' ? 'all components' : name}.`, { value })
    choice.set(name, word)
  }
  return choice
}

function isWord(word: string): word is DTypeWord {
  return (words as readonly string[]).includes(word)
}

/**
 * The value for a component, or null to leave its weights unchanged. A VAE is never quantized: its few Linear weights are 2 % of it and
 * affect the whole image, so `q8` and `q4` mean float16 for it.
 * @throws UnsupportedError `already-quantized`
 */
export function dtypeOf(choice: DTypeChoice, component: ComponentContents): DTypeWord | null {
  const word = choice.get(component.name) ?? choice.get('') ?? null
  if (word !== null && component.config?.quantization_config !== undefined)
    throw new UnsupportedError(
      'already-quantized',
      `${component.name === '' ? 'The checkpoint' : component.name} is already quantized (quantization_config in its config.json); start from the original weights.`,
      { component: component.name },
    )
  return (word === 'q8' || word === 'q4') && isAutoencoder(component.className) ? 'float16' : word
}

/** Whether the class is an autoencoder. `shard` also rewrites networks that Aquatint does not run; of those, only the class name is known. */
function isAutoencoder(className: string): boolean {
  const definition = findNetworkDefinition(className)
  return definition === undefined
    ? /^(?:Autoencoder|VQModel|ConsistencyDecoder)/.test(className)
    : definition.role === 'autoencoder'
}

/** The transforms that give a component's weights the type `word`. The class says which of its weights are never quantized. */
export function transformsOf(word: DTypeWord, className: string, onOverflow: OnOverflow): readonly WeightTransform[] {
  const sensitive = findNetworkDefinition(className)?.sensitive
  if (word === 'q8' || word === 'q4')
    return [quantize({ bits: word === 'q8' ? 8 : 4, sensitive }), castWeights('F16', onOverflow)]
  return [castWeights(({ float32: 'F32', float16: 'F16', bfloat16: 'BF16' } as const)[word], onOverflow)]
}

/**
 * Returns the text of config.json with the weights' new type, if it records a type, as configs of transformers do. For quantized weights,
 * adds `quantization_config`, so that diffusers does not load the codes as weights. Every other character stays the same.
 */
export function configText(text: string, config: JsonObject, word: DTypeWord): string {
  const float = word === 'q8' || word === 'q4' ? 'float16' : word
  const typed = text.replace(/("(?:torch_)?dtype"\s*:\s*)"(?:float32|float16|bfloat16)"/g, `$1"${float}"`)
  if (word !== 'q8' && word !== 'q4') return typed
  const note = { quant_method: 'aquatint', bits: word === 'q8' ? 8 : 4, block_size: 32 }
  const comma = Object.keys(config).length === 0 ? '' : ','
  return typed.replace('{', () => `{\n  "quantization_config": ${JSON.stringify(note)}${comma}`)
}
