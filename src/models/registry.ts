/** All network classes that can be run. A new class is added here; everything else about it is in its own file. */

import { UnsupportedError } from '../errors.js'
import { AutoencoderKL } from './autoencoders/autoencoder-kl.js'
import { AutoencoderKLFlux2 } from './autoencoders/autoencoder-kl-flux2.js'
import { AutoencoderTiny } from './autoencoders/autoencoder-tiny.js'
import { CLIPTextModel, CLIPTextModelWithProjection } from './text-encoders/clip-text-model.js'
import { Qwen3ForCausalLM, Qwen3Model } from './text-encoders/qwen3-model.js'
import { T5EncoderModel } from './text-encoders/t5-encoder-model.js'
import { ChromaTransformer2DModel } from './transformers/transformer-chroma.js'
import { FluxTransformer2DModel } from './transformers/transformer-flux.js'
import { Flux2Transformer2DModel } from './transformers/transformer-flux2.js'
import { SD3Transformer2DModel } from './transformers/transformer-sd3.js'
import { ZImageTransformer2DModel } from './transformers/transformer-z-image.js'
import type { NetworkDefinition } from './types.js'
import { UNet2DConditionModel } from './unets/unet-2d-condition.js'

/** Every network class that Aquatint runs. */
export const networkDefinitions: readonly NetworkDefinition[] = [
  CLIPTextModel,
  CLIPTextModelWithProjection,
  T5EncoderModel,
  Qwen3ForCausalLM,
  Qwen3Model,
  UNet2DConditionModel,
  SD3Transformer2DModel,
  ZImageTransformer2DModel,
  FluxTransformer2DModel,
  Flux2Transformer2DModel,
  ChromaTransformer2DModel,
  AutoencoderKL,
  AutoencoderKLFlux2,
  AutoencoderTiny,
]

const refusals = new Map([
  [
    'AsymmetricAutoencoderKL',
    'Its decoder is larger than its encoder and fills in a masked image. Use AutoencoderKL or AutoencoderTiny as vae instead.',
  ],
  ['ConsistencyDecoderVAE', 'It decodes by a diffusion model of its own. Use AutoencoderKL or AutoencoderTiny as vae instead.'],
])

/** Why Aquatint refuses a network class of diffusers that users ask for, and what to use instead; undefined for all other classes. */
export function networkRefusal(className: string): string | undefined {
  return refusals.get(className)
}

/** The definition of a class by its name in model_index.json; undefined for classes that cannot be run. */
export function findNetworkDefinition(className: string): NetworkDefinition | undefined {
  return networkDefinitions.find((definition) => definition.className === className)
}

/** As {@link findNetworkDefinition}, but throws for a class that cannot be run. @throws UnsupportedError `unsupported-class` */
export function networkDefinition(className: string): NetworkDefinition {
  const definition = findNetworkDefinition(className)
  if (definition !== undefined) return definition
  const supported = networkDefinitions.map((one) => one.className)
  const message = `The network class ${className} is not supported. ${networkRefusal(className) ?? `Supported: ${supported.join(', ')}.`}`
  throw new UnsupportedError('unsupported-class', message, { className, supported })
}
