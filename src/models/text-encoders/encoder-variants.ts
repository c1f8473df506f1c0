/** Shared by the graphs of all text encoders: the names and indices of hidden states, and the masking of the padding. */

import { InputError } from '../../errors.js'
import type { HiddenState, TextEncoderDefinition } from '../types.js'

/** A variant of a text encoder class for pipelines in which no token attends to padding: its plain graph has the input `attention_mask`. */
export function maskingPadding<NetworkConfig>(
  definition: TextEncoderDefinition<NetworkConfig>,
): TextEncoderDefinition<NetworkConfig> {
  return {
    ...definition,
    fromConfig: (config) => {
      const model = definition.fromConfig(config)
      return {
        ...model,
        masksPadding: true,
        write: (shapes, options, variant = {}) =>
          model.write(shapes, options, { ...variant, attentionMask: variant.attentionMask ?? true }),
      }
    },
  }
}

/** `hidden_state`, `hidden_state_1`, `hidden_state_2`, …: the name of the hidden state at a place of `GraphVariant.hiddenStates`. */
export function numbered<Name extends string>(name: Name, place: number): Name | `${Name}_${number}` {
  return place === 0 ? name : `${name}_${place}`
}

/**
 * The index of a hidden state, counted from the first. Only the last hidden state, number `layers`, has the final norm, as in transformers.
 * @throws InputError `invalid-hidden-state`
 */
export function hiddenStateIndex(className: string, layers: number, { index, finalLayerNorm }: HiddenState): number {
  const count = layers + 1
  const fromFirst = index < 0 ? count + index : index
  if (Number.isInteger(fromFirst) && fromFirst >= 0 && fromFirst < count && finalLayerNorm === (fromFirst === layers))
    return fromFirst
  const message = `hiddenStates has ${index} ${finalLayerNorm ? 'with' : 'without'} the final norm; ${className} has ${-count} to ${count - 1}, of which the last alone has the final norm`
  throw new InputError('invalid-hidden-state', message, { index, min: -count, max: count - 1 })
}
