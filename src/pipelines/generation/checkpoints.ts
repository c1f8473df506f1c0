/**
 * The progress of a denoising loop, kept in host memory because a lost device loses its tensors: the state from which the loop can resume,
 * and which steps were reported to the caller.
 */

import type { DeviceTensor } from '../../runtime/types.js'
import type { TorchGenerator } from '../../util/random.js'
import type { PlainTensor } from '../types.js'

/** All that the step at `index` needs. */
export interface Checkpoint {
  /** The index of the next timestep to run. */
  readonly index: number
  /** The values of the latents, whose shape is {@link Checkpoints.dims}. */
  readonly latents: Float32Array<ArrayBuffer>
  /** The tensors that the scheduler keeps from step to step, by the scheduler's names for them. */
  readonly kept: ReadonlyMap<string, Float32Array<ArrayBuffer>>
  /** Draws the noise of the steps that follow. */
  readonly generator: TorchGenerator
}

/** A lost device costs the work since the last checkpoint: about this many milliseconds. */
const checkpointEvery = 2000

/** The checkpoints of one denoising loop. Each replaces the one before. */
export class Checkpoints {
  /** The shape of the latents: [batch, channels, height, width]. */
  readonly dims: readonly number[]
  readonly #now: () => number
  #last: Checkpoint
  #savedAt: number
  #saving = false
  /** Index of the first timestep whose step was not reported to the caller. */
  #reported: number

  /** `begin`: index of the first timestep that runs. `now`: a monotonic clock in milliseconds. */
  constructor(
    { dims, data }: PlainTensor,
    begin: number,
    generator: TorchGenerator,
    now: () => number = () => performance.now(),
  ) {
    this.dims = dims
    this.#now = now
    this.#last = { index: begin, latents: data, kept: new Map(), generator: generator.clone() }
    this.#savedAt = now()
    this.#reported = begin
  }

  /** The state to resume from; at first the initial latents. */
  get last(): Checkpoint {
    return this.#last
  }

  /** Whether the step at a timestep was reported in an earlier attempt. */
  wasReported(index: number): boolean {
    return index < this.#reported
  }

  reported(index: number): void {
    this.#reported = index + 1
  }

  /**
   * Copies the state before the step at `index` to the host if the last copy is at least two seconds old. Returns at once: the device
   * copies while it works on the next step. After a failed copy, the previous checkpoint remains, and the next step tries again.
   */
  save(index: number, latents: DeviceTensor, kept: ReadonlyMap<string, DeviceTensor>, generator: TorchGenerator): void {
    const started = this.#now()
    if (this.#saving || started - this.#savedAt < checkpointEvery) return
    this.#saving = true
    const save = async () => {
      this.#last = await copyToHost(index, latents, kept, generator.clone())
      this.#savedAt = started
    }
    save()
      .catch(() => {})
      .finally(() => {
        this.#saving = false
      })
  }
}

async function copyToHost(
  index: number,
  latents: DeviceTensor,
  kept: ReadonlyMap<string, DeviceTensor>,
  generator: TorchGenerator,
): Promise<Checkpoint> {
  const names = [...kept.keys()]
  const [data = new Float32Array(), ...values] = await Promise.all([latents, ...kept.values()].map((tensor) => tensor.read()))
  return { index, latents: data, kept: new Map(names.map((name, i) => [name, values[i] ?? new Float32Array()])), generator }
}
