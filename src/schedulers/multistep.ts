/** What the two multistep solvers (DPM-Solver and UniPC) share: α, σ and λ of a point of the schedule, and the small sums of arrays. */

/** A point of the noise schedule: x = α x₀ + σ ε, λ = log(α/σ), which is infinite at the end. */
export interface SchedulePoint {
  readonly alpha: number
  readonly sigma: number
  readonly lambda: number
}

const { fround, sqrt } = Math

/** From a sigma of the schedule; with flow matching α = 1 − σ. */
export function schedulePoint(sigma: number, flow: boolean): SchedulePoint {
  const alpha = flow ? fround(1 - sigma) : fround(1 / fround(sqrt(fround(fround(sigma * sigma) + 1))))
  const scaled = flow ? sigma : fround(sigma * alpha)
  return { alpha, sigma: scaled, lambda: Math.log(alpha) - Math.log(scaled) }
}

export type MultistepPrediction = 'epsilon' | 'sample' | 'v_prediction' | 'flow_prediction'

/** The model's output as a prediction of the image x₀, or of the noise ε. */
export function convertModelOutput(
  modelOutput: Float32Array,
  sample: Float32Array,
  { alpha, sigma }: SchedulePoint,
  prediction: MultistepPrediction,
  wanted: 'image' | 'noise',
): Float32Array {
  return modelOutput.map((output, i) => {
    const x = sample[i] ?? 0
    if (wanted === 'image') {
      if (prediction === 'epsilon') return (x - sigma * output) / alpha
      if (prediction === 'v_prediction') return alpha * x - sigma * output
      return prediction === 'flow_prediction' ? x - sigma * output : output
    }
    if (prediction === 'sample') return (x - alpha * output) / sigma
    return prediction === 'v_prediction' ? alpha * output + sigma * x : output
  })
}

/** Σ scale · array, rounded to float32 once. Terms of scale 0 are left out, whatever their array holds. */
export function weightedSum(length: number, terms: readonly (readonly [number, ArrayLike<number>])[]): Float32Array<ArrayBuffer> {
  const sum = new Float64Array(length)
  for (const [scale, values] of terms) {
    if (scale === 0) continue
    for (let i = 0; i < length; i++) sum[i] = (sum[i] ?? 0) + scale * (values[i] ?? 0)
  }
  return Float32Array.from(sum)
}
