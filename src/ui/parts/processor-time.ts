/** How long a picture takes on the CPU, roughly, to say it before it is computed. Pure. */

import type { PipelineInfo } from '../../index.js'
import type { Size } from './size.js'

/** From this many parameters a denoiser has billions of multiplications in each step. */
const large = 500e6
/** From this many pixels the bundled model, which is small, takes minutes: measured, 10 steps of 512 × 512 took 45 s, of 768 × 768 over two minutes. */
const manyPixels = 512 * 512

/** `minutes` or `hours`; undefined if a picture takes less. */
export function processorTime(components: PipelineInfo['components'], { width, height }: Size): 'minutes' | 'hours' | undefined {
  const parameters = Object.values(components).map((component) => component.parameters)
  if (Math.max(0, ...parameters) >= large) return 'hours'
  return width * height >= manyPixels ? 'minutes' : undefined
}
