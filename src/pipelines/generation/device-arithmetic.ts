/** The sums and the noise of the denoising loop, on a device. */
import type { DeviceTensor, LinearTerm } from '../../runtime/types.js'
import type { Arithmetic } from '../../schedulers/step-runner.js'
import type { TorchGenerator } from '../../util/random.js'
import { float32Tensor } from '../tensors.js'
import { elementCount } from '../../util/element-count.js'
import { mostTerms } from '../../runtime/host-math.js'
import type { Device } from '../../runtime/device.js'

/** Computes with tensors of shape `dims`, which the memory account counts as `owner`'s. Noise is drawn on the host, as diffusers draws it, and uploaded. */
export function deviceArithmetic(
  device: Device,
  dims: readonly number[],
  owner: string,
  generator: TorchGenerator,
): Arithmetic<DeviceTensor> {
  const count = elementCount(dims)
  return {
    sum: (parts, bound) => {
      let terms = parts.map(({ value, scale, offset }): LinearTerm => ({ tensor: value, scale, offset }))
      let partial: DeviceTensor | undefined
      while (terms.length > mostTerms) {
        const sum = device.combine(terms.slice(0, mostTerms), dims, owner)
        partial?.dispose()
        partial = sum
        terms = [{ tensor: sum, scale: 1 }, ...terms.slice(mostTerms)]
      }
      const result = device.combine(terms, dims, owner, bound)
      partial?.dispose()
      return result
    },
    noise: () => device.upload(float32Tensor(dims, generator.randn(count)), owner),
    dispose: (tensor) => tensor.dispose(),
  }
}
