/**
 * Sines and cosines of timesteps, diffusers' `get_timestep_embedding`, on the host: WGSL promises little about the sine of a number
 * like 999, and this is a few hundred values a step. Steps are rounded to float32 where diffusers does.
 */

const round = Math.fround

/** How a network wants its timesteps embedded. */
export interface TimestepSettings {
  /** Width of the result for each timestep. */
  readonly width: number
  readonly flipSinToCos: boolean
  readonly freqShift: number
}

/** [timesteps.length, width]: sines then cosines (cosines first when flipped), a last 0 for odd widths. */
export function timestepEmbedding(timesteps: ArrayLike<number>, settings: TimestepSettings): Float32Array<ArrayBuffer> {
  const { width, flipSinToCos, freqShift } = settings
  const half = Math.floor(width / 2)
  const result = new Float32Array(timesteps.length * width)
  for (let index = 0; index < half; index++) {
    const exponent = round(round(round(-Math.log(10000)) * index) / round(half - freqShift))
    const frequency = round(Math.exp(exponent))
    for (let row = 0; row < timesteps.length; row++) {
      const angle = round(round(timesteps[row] ?? 0) * frequency)
      const sine = row * width + index + (flipSinToCos ? half : 0)
      const cosine = row * width + index + (flipSinToCos ? 0 : half)
      result[sine] = Math.sin(angle)
      result[cosine] = Math.cos(angle)
    }
  }
  return result
}
