/** The UNets of `npm run bench:wasm`, by name, as Aquatint writes them. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Config } from '../../src/checkpoint/types.js'
import { UNet2DConditionModel } from '../../src/models/unets/unet-2d-condition.js'
import type { Stage } from '../../src/onnx/types.js'
import counted from '../kernels/networks.json' with { type: 'json' }

/** The path of the bundled model's config. */
export const bundledConfig = fileURLToPath(new URL('../../public/models/aquatint-emoji/unet/config.json', import.meta.url))

/** The configs of the UNets, by name. */
export const unets: Readonly<Record<string, Config>> = {
  'bundled-unet': JSON.parse(readFileSync(bundledConfig, 'utf8')) as Config,
  'sdxl-unet': counted['sdxl-unet'].config,
}

/** The options for the graphs of a comparison on the CPU: whole networks, with their weights as initializers. */
export const writing = { dtype: 'float32', weights: 'initializer', granularity: 'component' } as const

/** The stages of a UNet's graph for a batch of 2, latents of 16 × 16 and a prompt of `tokens` tokens. */
export function unetStages(name: string, tokens = 77): readonly Stage[] {
  const config = unets[name]
  if (config === undefined) throw new Error(`There is no network ${name}; there are: ${Object.keys(unets).join(', ')}`)
  const model = UNet2DConditionModel.fromConfig(config)
  const shapes = model.shapes({ height: 16, width: 16 })
  const [batch = 2, , width = 0] = shapes['encoder_hidden_states'] ?? []
  return model.write({ ...shapes, encoder_hidden_states: [batch, tokens, width] }, writing).stages
}
