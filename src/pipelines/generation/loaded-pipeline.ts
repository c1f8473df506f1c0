/** A loaded pipeline of any family: checks the options of a generation and assembles its parts. */

import { checkAmounts, checkInputs, countImages, resultSize, roundedSize } from '../check-inputs.js'
import { usualLatents } from '../latent-geometry.js'
import { describePipeline, type OpenedPipeline } from '../loading/open-pipeline.js'
import { guidanceOf, roundsSize } from '../pipeline-spec.js'
import { Recorder, Run, type CallHooks, type GenerateHooks } from '../run.js'
import type { AdapterSource } from '../loading/adapters/open-adapter-file.js'
import { LoraAdapters } from './lora-adapters.js'
import type { PipelineInfo } from '../pipeline-info.js'
import type { EncodePromptOptions, GenerateOptions, GenerateResult, PromptEmbeddings, PromptInput } from '../types.js'
import type { AdapterCommand, LoraInfo } from '../adapter-types.js'
import { imageStart } from './image-start.js'
import { imageNetworksOf, previewNetworkOf } from './parts.js'
import type { PipelineFamily } from './pipeline-family.js'
import { denoiserPredictor } from './predictor.js'
import { checkEmbeddingWidths, hasNegativePrompt, promptBatch, weightingOf } from './prompt-batch.js'
import { warnOfUnusedOptions } from './unused-options.js'
import type { EncodeCall } from '../prompts/prompt-embeds.js'
import { encodePrompts } from '../prompts/encode-prompts.js'
import { familyScheduler } from './family-scheduler.js'
import { describeScheduler, schedulerSource } from './schedule.js'
import { encodeReferences, latentSizes, referenceImages } from '../images/reference-images.js'
import type { HostTensor } from '../../runtime/types.js'
import { readTableInputs } from './table-inputs.js'
import { float32Tensor } from '../tensors.js'
import { textToImage } from './text-to-image.js'

export interface LoadedPipeline {
  readonly info: PipelineInfo
  /**
   * Loads, activates, fuses or removes LoRAs and embeddings. Returns the LoRAs that are then loaded. The caller must not call it while images are made.
   * @throws as `openLora` for `load`; InputError `adapter-name`, `adapter-weights`, `components`; UnsupportedError `lora-fuse`
   */
  adapters(command: AdapterCommand<AdapterSource>, hooks?: CallHooks): Promise<readonly LoraInfo[]>
  /** Makes images. @throws InputError, DeviceError, UnsupportedError, CheckpointError, AbortError */
  generate(prompt: PromptInput, options?: GenerateOptions & GenerateHooks): Promise<GenerateResult>
  /** Encodes prompts, without making images. @throws InputError, DeviceError, CheckpointError, AbortError */
  encodePrompt(prompt: string | readonly string[], options?: EncodePromptOptions & CallHooks): Promise<PromptEmbeddings>
  /** Frees everything. The pipeline cannot be used again. */
  dispose(): Promise<void>
}

/** The version of each network's adapters, by the network's name. */
function versionsOf(networks: OpenedPipeline['parts']['networks']): ReadonlyMap<string, string | undefined> {
  return new Map([...networks].map(([name, { adapters }]) => [name, adapters?.version]))
}

/**
 * Creates a pipeline from its opened parts.
 * @throws CheckpointError `component-missing`, `invalid-config`; UnsupportedError `unsupported-config`
 */
export function createPipeline({
  spec: family,
  parts,
  hosts,
  notes,
  close,
  prepare,
  opening,
}: OpenedPipeline<PipelineFamily>): LoadedPipeline {
  const networks = imageNetworksOf(parts)
  const { denoiser, vae } = networks
  const loras = new LoraAdapters(parts)
  const prompts = family.promptEncoder(parts, hosts, denoiser)
  const scheduler = family.scheduler?.correct?.(parts.scheduler) ?? schedulerSource(parts.scheduler)
  const { scaleFactor } = vae.model
  const { channels, patch } = denoiser.model.latents
  const usual = usualLatents(denoiser.model.latents, scaleFactor)
  const defaults = {
    width: usual.width * scaleFactor,
    height: usual.height * scaleFactor,
    numInferenceSteps: family.defaults.numInferenceSteps,
    guidanceScale: family.defaults.guidanceScale,
    fromImage: {
      numInferenceSteps: family.defaults.numInferenceSteps,
      guidanceScale: family.defaults.guidanceScale,
      ...family.imageToImage.defaults,
    },
  }
  const multiple = scaleFactor * patch
  const latentScales = family.latentScales(vae.model.scaling, channels)
  const tiny = previewNetworkOf(parts)
  // Some pipelines normalize latents by statistics in the autoencoder's config. The tiny autoencoder can decode the latents only if both
  // configs have such statistics, or neither has them.
  const decodesPreviews = tiny !== undefined && (tiny.model.scaling.mean === null) === (vae.model.scaling.mean === null)
  const previewDecoder = decodesPreviews
    ? {
        network: tiny,
        host: hosts.of(tiny.name),
        scales: family.latentScales(tiny.model.scaling, channels),
      }
    : undefined

  async function generate(prompt: PromptInput, given: GenerateOptions & GenerateHooks = {}): Promise<GenerateResult> {
    const { maxSequenceLength = family.defaults.maxSequenceLength } = given
    const { image, ...withoutImage } = given
    const references = family.takesReferences === true ? referenceImages(image, multiple) : []
    const called: GenerateOptions & GenerateHooks = {
      ...(family.takesReferences === true ? withoutImage : given),
      maxSequenceLength,
    }
    const run = new Run(called)
    loras.warn(run)
    const options = roundsSize(family, image !== undefined)
      ? roundedSize(called, multiple, (code, message) => run.warn(code, message))
      : called
    const size = resultSize(options, references[0] ?? defaults, multiple)
    const { numInferenceSteps, guidanceScale: usualScale } = options.image === undefined ? defaults : defaults.fromImage
    const batch = promptBatch(prompt, options)
    checkInputs(options, size, multiple)
    const images = countImages(batch.size, options)
    checkEmbeddingWidths(options, denoiser.model)
    prompts.check(options)
    const weighting = weightingOf(options.promptWeighting, batch, prompts, family.className)
    family.check?.(options, denoiser.model)
    const latentSize = { height: size.height / scaleFactor, width: size.width / scaleFactor }
    const tokens = Math.floor(latentSize.height / patch) * Math.floor(latentSize.width / patch)
    const prepared = familyScheduler(family, scheduler, options, { tokens, numInferenceSteps }, run)
    const recorder = new Recorder(options.capture)
    const trueCfgScale = hasNegativePrompt(options) ? options.trueCfgScale : undefined
    warnOfUnusedOptions(family, given, prompts.weighted !== undefined, run)
    const { guidanceScale = usualScale, guidanceRescale = 0 } = options
    const guidance = guidanceOf(family, { guidanceScale, trueCfgScale }, denoiser.model)
    const guided = guidance !== null
    const count = options.numImagesPerPrompt ?? 1
    const referenceSizes = latentSizes(references, scaleFactor)
    let referenceTokens: HostTensor | undefined
    return textToImage({
      options,
      hosts,
      scheduler: prepared,
      latentDims: [images, channels, latentSize.height, latentSize.width],
      start: imageStart(options, prepared, family.imageToImage, numInferenceSteps),
      references: referenceSizes,
      denoiser,
      encodePrompt: async (call) => {
        const encoded = await batch.encode(prompts, guided, { ...call, weighting })
        if (references.length > 0)
          referenceTokens ??= await encodeReferences(vae, references, latentScales, hosts.of(vae.name), run)
        return encoded
      },
      condition: async (device, encoded) => {
        const rows = await readTableInputs(denoiser, latentSize, run.signal)
        const scales = Object.entries(denoiser.model.guidanceInputs?.(guidanceScale, guided ? 2 * images : images) ?? {})
        const condition = family.condition({ denoiser, device, prompts: encoded, guided, options, size, count })
        const [, sequenceLength = 0] = condition['encoder_hidden_states']?.dims ?? []
        const textLengths = encoded.flatMap(({ embeds }) => Array<number>(count).fill(embeds.dims[0] ?? 0))
        const positions = Object.entries(
          denoiser.model.positionInputs?.({ ...latentSize, sequenceLength, textLengths, references: referenceSizes }) ?? {},
        )
        const others = [
          ...Object.entries(rows),
          ...[...scales, ...positions].map(([name, { dims, data }]) => [name, float32Tensor(dims, data)] as const),
        ]
        return {
          ...condition,
          ...(referenceTokens === undefined
            ? {}
            : { [denoiser.model.referenceInput ?? '']: device.upload(referenceTokens, denoiser.name) }),
          ...Object.fromEntries(others.map(([name, tensor]) => [name, device.upload(tensor, denoiser.name)])),
        }
      },
      predictor: (condition, host, keep) =>
        denoiserPredictor({
          denoiser,
          condition,
          host,
          run,
          keep,
          refine: guided ? family.refine?.({ denoiser, condition, options, host, recorder, run, keep }) : null,
        }),
      guidance: guided
        ? {
            scale: guidance,
            rescale: family.rescalesGuidance ? guidanceRescale : 0,
            ...(family.limitsGuidance === true
              ? { limit: Number(options.cfgNormalization ?? 0), end: options.cfgTruncation }
              : {}),
          }
        : null,
      vae,
      latentScales,
      preview: family.preview,
      previewDecoder,
      recorder,
      run,
    })
  }

  return {
    info: {
      ...describePipeline({ spec: family, parts, hosts, notes }, networks, defaults, describeScheduler(scheduler)),
      promptWeighting: prompts.weighted !== undefined,
    },
    generate,
    adapters: async (command, hooks = {}) => {
      const before = versionsOf(parts.networks)
      const loaded = await loras.run(command, opening, hooks)
      const changed = [...versionsOf(parts.networks)].filter(([name, version]) => before.get(name) !== version)
      const begun = changed.length === 0 ? undefined : prepare(new Set(changed.map(([name]) => name)))
      if (begun !== undefined) hosts.prepare(begun)
      return loaded
    },
    encodePrompt: async (prompt, { signal, onProgress, ...given } = {}) => {
      const { maxSequenceLength = family.defaults.maxSequenceLength } = given
      const options = { ...given, maxSequenceLength }
      checkAmounts(options)
      prompts.check(options)
      const run = new Run({ signal, onProgress })
      const guided =
        family.takesTrueCfg === true
          ? hasNegativePrompt(options)
          : family.guidance === 'classifier-free' && denoiser.model.guidanceInputs === undefined
      const batch = promptBatch(prompt, options)
      const weighting = weightingOf(options.promptWeighting, batch, prompts, family.className)
      const encode = (call: EncodeCall) => batch.encode(prompts, guided, { ...call, weighting })
      return encodePrompts({ encode, guided, denoiser, hosts, run, size: usual, options })
    },
    dispose: async () => {
      loras.dispose()
      await hosts.dispose()
      close()
    },
  }
}
