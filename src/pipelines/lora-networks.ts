/** Which networks of a pipeline a LoRA can change, by the names that LoRA files have for them. */

import type { LoraComponent } from '../checkpoint/lora/lora-keys.js'
import type { Network } from './bind-network.js'

const encoders = ['text_encoder', 'text_encoder_2', 'text_encoder_3'] as const

/** The denoiser and the text encoders of a pipeline. */
export function loraNetworks(networks: ReadonlyMap<string, Network>): ReadonlyMap<LoraComponent, Network> {
  const found = new Map<LoraComponent, Network>()
  for (const network of networks.values()) if (network.model.role === 'denoiser') found.set('denoiser', network)
  for (const name of encoders) {
    const network = networks.get(name)
    if (network !== undefined) found.set(name, network)
  }
  return found
}
