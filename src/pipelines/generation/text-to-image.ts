/** One generation from text, and maybe from an image: its phases, with recovery wrapped around them. */

import { TorchGenerator } from '../../util/random.js'
import { reportingMemory } from '../execution/device-hosts.js'
import { generationSize } from '../planning/memory-needs.js'
import type { GenerateResult } from '../types.js'
import { toPixels } from '../images/image-processor.js'
import { GenerationPhases, type TextToImage } from './phases.js'

/**
 * Runs a generation. However it ends, it leaves nothing on the devices but the weights that may stay.
 * @throws DeviceError, CheckpointError, AbortError
 */
export async function textToImage(parts: TextToImage): Promise<GenerateResult> {
  const { options, hosts, guidance, start, references, recorder, run } = parts
  const [images = 1, , height = 0, width = 0] = parts.latentDims
  const seed = options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0
  const phases = new GenerationPhases(parts, new TorchGenerator(seed))
  return reportingMemory(hosts, run, async () => {
    try {
      const amounts = { ...options, numImagesPerPrompt: images }
      await hosts.fit(
        generationSize({ width, height }, amounts, guidance !== null, start !== null || references.length > 0, references),
        run,
      )
      const pictures = toPixels(await hosts.recovery.retrying(run, () => phases.run()))
      run.status('complete')
      const { captured } = recorder
      return {
        images: pictures,
        seed,
        timings: { ...phases.seconds },
        warnings: [...run.warnings],
        ...(captured === undefined ? {} : { captured }),
      }
    } finally {
      phases.release()
      await hosts.settle()
    }
  })
}
