/** Classifier-free guidance (arXiv 2207.12598) and its rescaling against overexposure (arXiv 2305.08891, section 3.4). */

/** uncond + scale · (text − uncond). `prediction` holds the unconditional half first. */
export function guide(prediction: Float32Array, scale: number): Float32Array<ArrayBuffer> {
  const half = prediction.length / 2
  const result = new Float32Array(half)
  for (let i = 0; i < half; i++) {
    const uncond = prediction[i] ?? 0
    result[i] = uncond + scale * ((prediction[half + i] ?? 0) - uncond)
  }
  return result
}

/** diffusers' `rescale_noise_cfg`: moves each image's standard deviation towards that of the text's prediction, by `rescale` of 1. */
export function rescaleGuided(
  guided: Float32Array,
  text: Float32Array,
  batch: number,
  rescale: number,
): Float32Array<ArrayBuffer> {
  const size = guided.length / batch
  const result = new Float32Array(guided.length)
  for (let image = 0; image < batch; image++) {
    const begin = image * size
    const ratio = deviation(text.subarray(begin, begin + size)) / deviation(guided.subarray(begin, begin + size))
    const factor = rescale * ratio + (1 - rescale)
    for (let i = begin; i < begin + size; i++) result[i] = (guided[i] ?? 0) * factor
  }
  return result
}

/** `torch.std`: with Bessel's correction. */
function deviation(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}
