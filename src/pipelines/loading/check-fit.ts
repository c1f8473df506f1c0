/**
 * Checks from the configs alone, before any weights are downloaded, whether the networks of a checkpoint fit each other: the denoiser must
 * have as many latent channels as the autoencoder, and take prompt embeddings of the widths that the text encoders give. A UNet for
 * inpainting (9 channels), one for InstructPix2Pix (8 channels) and an SDXL refiner do not fit. diffusers loads them, and fails in the
 * first step.
 */

import type { CheckpointNote } from '../../checkpoint/types.js'
import { UnsupportedError } from '../../errors.js'
import type { AutoencoderModel, ConfigMisfit, DenoiserModel, Extent, NetworkModel, PromptWidths } from '../../models/types.js'
import { usualLatents } from '../latent-geometry.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import { previewDecoderName } from './preview-decoder.js'

type Models = ReadonlyMap<string, NetworkModel>

/** A component that does not fit the others, and the error that names its config key. */
export interface Misfit {
  readonly component: string
  readonly error: UnsupportedError
}

/**
 * The first config value of the denoiser or the preview decoder that does not fit the other networks. Undefined if all fit, or if the
 * networks to compare are not among `models`. `complete`: whether `models` are all networks of the checkpoint. If one is missing, the
 * widths of the condition are not compared.
 */
export function findMisfit(models: Models, spec: PipelineSpec, complete: boolean): Misfit | undefined {
  for (const [component, denoiser] of models) {
    if (denoiser.role !== 'denoiser') continue
    const vae = [...models.values()].find((model) => model.role === 'autoencoder')
    const error =
      (vae === undefined ? undefined : latentsMisfit(denoiser, vae, spec)) ??
      (complete ? conditionMisfit(denoiser, models, spec) : undefined)
    if (error !== undefined) return { component, error }
    const misfit = previewMisfit(models, vae, spec)
    if (misfit !== undefined) return misfit
  }
  return undefined
}

/** The error for a preview decoder whose latents have another number of channels than the autoencoder's; undefined if the numbers are equal. */
function previewMisfit(models: Models, vae: AutoencoderModel | undefined, spec: PipelineSpec): Misfit | undefined {
  const preview = models.get(previewDecoderName)
  if (preview?.role !== 'autoencoder' || vae === undefined || preview.latentChannels === vae.latentChannels) return undefined
  const found = { key: 'latent_channels', value: preview.latentChannels, allowed: vae.latentChannels }
  return { component: previewDecoderName, error: refusal(preview, spec, found, `the latent channels of the ${vae.className}`) }
}

/**
 * A note on a denoiser whose config has a size that cannot be generated, with the size that is used instead. Undefined if the config's
 * size can be generated.
 */
export function noteSize(models: Models): { readonly component: string; readonly note: CheckpointNote } | undefined {
  const vae = [...models.values()].find((model) => model.role === 'autoencoder')
  for (const [component, denoiser] of models) {
    if (denoiser.role !== 'denoiser' || vae === undefined) continue
    const { sampleSize } = denoiser.latents
    const usual = usualLatents(denoiser.latents, vae.scaleFactor)
    if (usual.width === sampleSize.width && usual.height === sampleSize.height) return undefined
    const pixels = ({ width, height }: Extent) => `${width * vae.scaleFactor} × ${height * vae.scaleFactor} pixels`
    const message = `The config's sample_size means images of ${pixels(sampleSize)}, which cannot be generated. The default size is ${pixels(usual)}.`
    return { component, note: { code: 'size-replaced', message, values: { [pixels(sampleSize)]: pixels(usual) } } }
  }
  return undefined
}

function latentsMisfit(
  denoiser: DenoiserModel,
  { latentChannels, className }: AutoencoderModel,
  spec: PipelineSpec,
): UnsupportedError | undefined {
  const { channels, outChannels } = denoiser.latents
  const [key, value] = channels === latentChannels ? ['out_channels', outChannels] : ['in_channels', channels]
  if (value === latentChannels) return undefined
  return refusal(denoiser, spec, { key, value, allowed: latentChannels }, `the latent channels of the ${className}`)
}

function conditionMisfit(denoiser: DenoiserModel, models: Models, spec: PipelineSpec): UnsupportedError | undefined {
  const widths: Record<string, PromptWidths> = {}
  for (const [name, model] of models)
    if (model.role === 'text-encoder') widths[name] = { hidden: model.tokenEmbedding.width, pooled: model.pooledWidth }
  const given = spec.promptWidths?.(widths, denoiser.contextWidth)
  const found = given && denoiser.promptMisfit(given)
  return found && refusal(denoiser, spec, found, 'for what the text encoders give')
}

function refusal(
  { className }: Pick<NetworkModel, 'className'>,
  spec: PipelineSpec,
  { key, value, allowed }: ConfigMisfit,
  reason: string,
): UnsupportedError {
  const [shown, needed] = [JSON.stringify(value), JSON.stringify(allowed)]
  return new UnsupportedError(
    'unsupported-config',
    `${key} ${shown} of ${className} does not fit the other components of a ${spec.className}; supported: ${needed}, ${reason}.`,
    { className, key, value: shown, allowed: [needed] },
  )
}
