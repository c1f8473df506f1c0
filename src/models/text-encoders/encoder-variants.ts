/** Shared by the graphs of all text encoders: the names and the numbers of hidden states. */

import { InputError } from '../../errors.js'
import type { HiddenState } from '../types.js'

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
