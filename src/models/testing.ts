/** For tests, in Node and in the browser: writes a class's graph for a size, from which it derives the shapes of the inputs. */

import type { Config } from '../checkpoint/types.js'
import type { ComponentGraph, Shapes, WriteOptions } from '../onnx/types.js'
import type { GraphVariant, NetworkDefinition, NetworkModel } from './types.js'

/** The sizes that determine all shapes of a graph. `height` and `width` are those of the image if the graph takes one, otherwise of the latents. */
export interface TestSize {
  readonly batch: number
  readonly height?: number | undefined
  readonly width?: number | undefined
  readonly sequenceLength?: number | undefined
  /** The number of tokens of all reference images together, for denoisers that attend to reference images. */
  readonly references?: number | undefined
  /** Shapes of further inputs, which decide how the graph is written. */
  readonly others?: Shapes | undefined
}

/** The shapes of a model's inputs for a size. */
export function shapesFor(model: NetworkModel, size: TestSize, variant?: GraphVariant): Shapes {
  const { batch, height = 0, width = 0, sequenceLength = 0, references = 0 } = size
  switch (model.role) {
    case 'text-encoder':
      return { inputs_embeds: [batch, sequenceLength, model.tokenEmbedding.width] }
    case 'denoiser':
      return {
        [model.latents.input]: [batch, model.latents.channels, height, width],
        encoder_hidden_states: [batch, sequenceLength, model.contextWidth],
        ...size.others,
        ...(references === 0 ? {} : { reference_latents: [1, references, model.latents.channels] }),
      }
    case 'autoencoder':
      return variant?.part === 'encoder'
        ? { sample: [batch, 3, height, width] }
        : { latents: [batch, model.latentChannels, height, width] }
  }
}

/** A class's graph for a config and a size. */
export function graphFor(
  definition: NetworkDefinition,
  config: Config,
  size: TestSize,
  options: WriteOptions,
  variant?: GraphVariant,
): ComponentGraph {
  const model = definition.fromConfig(config)
  return model.write(shapesFor(model, size, variant), options, variant)
}
