/** Keeps the tensors that a caller asked for, under the names that the parity fixtures have. */

import { InputError } from '../../errors.js'
import type { CapturedTensorName, CapturedTensors, PlainTensor } from '../types.js'

const names: readonly CapturedTensorName[] = [
  'prompt_embeds',
  'negative_prompt_embeds',
  'pooled_prompt_embeds',
  'negative_pooled_prompt_embeds',
  'initial_latents',
  'timesteps',
  'noise_pred',
  'latents',
  'image',
]

/** Copies of the tensors asked for. */
export class Recorder {
  readonly #wanted: ReadonlySet<CapturedTensorName>
  readonly #tensors: Record<string, PlainTensor> = {}

  /** @throws InputError `capture` for a name that is not known */
  constructor(wanted: readonly CapturedTensorName[] = []) {
    for (const name of wanted) {
      if (!names.includes(name))
        throw new InputError('capture', `capture has ${JSON.stringify(name)}; allowed are ${names.join(', ')}.`, {
          capture: name,
          allowed: names,
        })
    }
    this.#wanted = new Set(wanted)
  }

  /** Whether a tensor is wanted, and so worth to be read from a device. */
  wants(name: CapturedTensorName): boolean {
    return this.#wanted.has(name)
  }

  /** Keeps `tensor` under its name (or `as`), with the step's index where there is one. Null is left out. */
  keep(name: CapturedTensorName, tensor: PlainTensor | null, step?: number, as: string = name): void {
    if (tensor === null || !this.#wanted.has(name)) return
    this.#tensors[step === undefined ? as : `${as}_${step}`] = { dims: tensor.dims, data: tensor.data.slice() }
  }

  /** What was kept, or undefined where nothing was asked for. */
  get captured(): CapturedTensors | undefined {
    return this.#wanted.size === 0 ? undefined : this.#tensors
  }
}
