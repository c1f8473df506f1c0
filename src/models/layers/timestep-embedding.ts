/**
 * diffusers' `get_timestep_embedding`: sines and cosines of timesteps. The host computes them, because WGSL guarantees little precision for the sine of
 * a number like 999, and a step needs only a few hundred values. Intermediate results are rounded to float32 where diffusers rounds them.
 */

const round = Math.fround

/** How a network embeds its timesteps. */
export interface TimestepSettings {
  /** The number of values for each timestep. */
  readonly width: number
  readonly flipSinToCos: boolean
  readonly freqShift: number
}

/**
 * diffusers' `get_guidance_scale_embedding`: sines, then cosines, and a last 0 for odd widths. For latent consistency models, pass the guidance scale
 * minus 1. Returns [width].
 */
export function guidanceScaleEmbedding(guidanceScale: number, width: number): Float32Array<ArrayBuffer> {
  const half = Math.floor(width / 2)
  const result = new Float32Array(width)
  const step = round(round(Math.log(10000)) / (half - 1))
  const scaled = round(round(guidanceScale) * 1000)
  for (let index = 0; index < half; index++) {
    const angle = round(scaled * round(Math.exp(round(index * -step))))
    result[index] = Math.sin(angle)
    result[half + index] = Math.cos(angle)
  }
  return result
}

/** Returns [timesteps.length, width]: sines, then cosines (cosines first if flipped), and a last 0 for odd widths. */
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
