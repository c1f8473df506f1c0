/** The context of a call of a pipeline: the signal, the listeners, the warnings and the captured tensors. */

import type { CheckpointNote } from '../checkpoint/types.js'
import type { LoadNote } from './pipeline-info.js'
import type { PipelinePhase, PipelineProgress, StepInfo, CapturedTensorName, CapturedTensors, PlainTensor } from './types.js'
import { InputError } from '../errors.js'
import type { DeviceTensor } from '../runtime/types.js'

/** Listeners and the signal of one call. */
export interface CallHooks {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: PipelineProgress) => void) | undefined
}

/** The hooks of a generation. */
export interface GenerateHooks extends CallHooks {
  readonly onStep?: ((step: StepInfo) => void) | undefined
}

/** One call as it runs. */
export class Run {
  readonly signal: AbortSignal | undefined
  readonly warnings: string[] = []
  /** Notes on what a load ignored, assumed or replaced. */
  readonly notes: LoadNote[] = []
  readonly #onProgress: ((progress: PipelineProgress) => void) | undefined

  constructor({ signal, onProgress }: CallHooks) {
    this.signal = signal
    this.#onProgress = onProgress
  }

  report(progress: PipelineProgress): void {
    this.#onProgress?.(progress)
  }

  status(phase: PipelinePhase, components?: readonly string[]): void {
    this.report({ type: 'status', phase, ...(components === undefined ? {} : { components }) })
  }

  /** Warns the caller, at once and with the result. `once`: skips a message that this call has already given, as when work is repeated. */
  warn(code: string, message: string, { once = false }: { readonly once?: boolean } = {}): void {
    if (once && this.warnings.includes(message)) return
    this.warnings.push(message)
    this.report({ type: 'warning', code, message })
  }

  /** Records what loading ignored, assumed or replaced, and warns the caller. A note is given once, however often its file is read. */
  note(component: string, { code, message, values }: CheckpointNote): void {
    if (this.notes.some((known) => known.component === component && known.code === code && known.message === message)) return
    this.notes.push({ component, code, message, values })
    this.warn(code, component === '' ? message : `${component}: ${message}`)
  }
}

/** Every tensor that a run can capture. */
export const capturedTensorNames: readonly CapturedTensorName[] = [
  'prompt_embeds',
  'negative_prompt_embeds',
  'pooled_prompt_embeds',
  'negative_pooled_prompt_embeds',
  'prompt_attention_mask',
  'negative_prompt_attention_mask',
  'initial_latents',
  'timesteps',
  'noise_pred',
  'latents',
  'image',
]

/** Copies of the tensors that the option `capture` names. */
export class Recorder {
  readonly #wanted: ReadonlySet<CapturedTensorName>
  readonly #tensors: Record<string, PlainTensor> = {}

  /** @throws InputError `capture` for a name that is not known */
  constructor(wanted: readonly CapturedTensorName[] = []) {
    for (const name of wanted) {
      if (!capturedTensorNames.includes(name))
        throw new InputError('capture', `capture has ${JSON.stringify(name)}; allowed are ${capturedTensorNames.join(', ')}.`, {
          capture: name,
          allowed: capturedTensorNames,
        })
    }
    this.#wanted = new Set(wanted)
  }

  /** Whether the caller requested a tensor. */
  wants(name: CapturedTensorName): boolean {
    return this.#wanted.has(name)
  }

  /** Keeps a copy under the tensor's name (or `as`), with the step's index if there is one. Null is skipped. */
  keep(name: CapturedTensorName, tensor: PlainTensor | null, step?: number, as: string = name): void {
    if (tensor === null || !this.#wanted.has(name)) return
    this.#tensors[step === undefined ? as : `${as}_${step}`] = { dims: tensor.dims, data: tensor.data.slice() }
  }

  /** As {@link keep}, for a tensor on a device. Copies it to the host only if the caller requested it. */
  async read(name: CapturedTensorName, tensor: DeviceTensor, step?: number, as?: string): Promise<void> {
    if (this.#wanted.has(name)) this.keep(name, { dims: tensor.dims, data: await tensor.read() }, step, as)
  }

  /** The copies, or undefined if `capture` names none. */
  get captured(): CapturedTensors | undefined {
    return this.#wanted.size === 0 ? undefined : this.#tensors
  }
}
