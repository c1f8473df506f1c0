/** Roughly how long a picture takes on the CPU, to show to the user before it is computed. Pure. */

import type { PipelineInfo } from '../../index.js'
import type { Size } from './size.js'

/** If a component has at least this many parameters, a picture takes hours. */
const large = 500e6
/**
 * From this many pixels the bundled model, which is small, takes minutes with its ten steps: on two busy cores, two steps and the decoder
 * took 16 s for 512 × 512 and 44 s for 768 × 768.
 */
const manyPixels = 512 * 512

/** `minutes` or `hours`; undefined if a picture takes less. */
export function processorTime(components: PipelineInfo['components'], { width, height }: Size): 'minutes' | 'hours' | undefined {
  const parameters = Object.values(components).map((component) => component.parameters)
  if (Math.max(0, ...parameters) >= large) return 'hours'
  return width * height >= manyPixels ? 'minutes' : undefined
}
