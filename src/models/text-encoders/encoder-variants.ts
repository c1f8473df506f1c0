/** What the graphs of all text encoders have in common: the names of several hidden states. */

/** `hidden_state`, `hidden_state_1`, `hidden_state_2`, …: the name of the hidden state at a place of `GraphVariant.hiddenStates`. */
export function numbered<Name extends string>(name: Name, place: number): Name | `${Name}_${number}` {
  return place === 0 ? name : `${name}_${place}`
}
