/**
 * `npm run bench:full-size [-- --model sdxl|sd15] [--max-memory SIZE] [--latent N] [--runs N]`
 *
 * Runs a published denoiser at its real dimensions, with random float16 weights in sharded safetensors, in headless Chromium within a
 * budget. The weights are downloaded from the Hub look-alike through the cache. Reports the planned and the measured bytes of GPU buffers,
 * and the memory of the browser's processes. Takes minutes and gigabytes of disk; it is not part of `npm test`.
 */

import { parseArgs } from 'node:util'
import { parseMemorySize } from '../src/memory/budget.js'
import { benchNetwork } from './memory/full-size-network.js'
import { publishedModel } from './memory/weight-tables.js'
import { virtualCheckpoint } from './quantize/virtual-checkpoint.js'

/** Runs the benchmark. Returns 1 if a run used more memory than planned. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string', default: 'sdxl' },
      'max-memory': { type: 'string' },
      latent: { type: 'string', default: '8' },
      runs: { type: 'string', default: '2' },
    },
  })
  const table = values.model === 'sd15' ? 'sd15-unet' : 'sdxl-unet'
  const { _class_name: className, config, tensors } = publishedModel(table)
  const [edge, channels, width] = [values.latent, config['in_channels'], config['cross_attention_dim']].map(Number)
  return benchNetwork(
    virtualCheckpoint(Object.entries(tensors), 2e9, 'diffusion_pytorch_model'),
    {
      name: 'unet',
      className,
      config,
      shapes: { sample: [1, channels ?? 4, edge ?? 8, edge ?? 8], encoder_hidden_states: [1, 77, width ?? 768] },
      maxMemory: values['max-memory'] === undefined ? undefined : parseMemorySize(values['max-memory'], '--max-memory'),
      runs: Number(values.runs),
    },
    `${table}, latents ${edge} × ${edge}`,
  )
}
