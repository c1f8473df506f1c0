/** Converts the denoiser's latents to the autoencoder's: a function for each formula of diffusers. The pipeline class chooses one. */

import type { LatentStatistics } from '../../models/types.js'

/** The autoencoder's value of a channel is `scale` times the denoiser's, plus `shift`. */
export interface ChannelScale {
  readonly scale: number
  readonly shift: number
}

function equalScales(scale: number, shift: number, channels: number): readonly ChannelScale[] {
  return Array.from({ length: channels }, () => ({ scale, shift }))
}

/** `latents / scaling_factor` */
export function scaledLatents({ factor }: LatentStatistics, channels: number): readonly ChannelScale[] {
  return equalScales(1 / factor, 0, channels)
}

/** `latents / scaling_factor + shift_factor` */
export function shiftedLatents({ factor, shift }: LatentStatistics, channels: number): readonly ChannelScale[] {
  return equalScales(1 / factor, shift, channels)
}

/** `latents * latents_std / scaling_factor + latents_mean` if the config has both statistics, else `latents / scaling_factor` */
export function standardizedLatents(statistics: LatentStatistics, channels: number): readonly ChannelScale[] {
  const { factor, mean, std } = statistics
  if (mean === null || std === null) return scaledLatents(statistics, channels)
  return Array.from({ length: channels }, (_, channel) => ({ scale: (std[channel] ?? 1) / factor, shift: mean[channel] ?? 0 }))
}
