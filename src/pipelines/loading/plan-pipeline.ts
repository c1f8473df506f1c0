/**
 * Plans a pipeline before its weights are loaded: the bytes to download, and for each device which weights are on it when, and the expected
 * peak. Of weight files only the headers are read.
 */

import type { OpeningCost } from '../../hub/types.js'
import type { MemoryPlan } from '../../memory/plan.js'
import { checkAmounts, checkSize } from '../check-inputs.js'
import { findPipeline, type OpenPipelineOptions, type PipelineSource } from './find-pipeline.js'
import {
  autoencoderOf,
  denoiserOf,
  generationSize,
  heldOn,
  latentSize,
  needsOn,
  type PlannedDevice,
} from '../planning/memory-needs.js'
import type { Network } from '../bind-network.js'
import { budgetOn } from '../../memory/budget.js'
import { isRefusal, orThrow, type Refusal } from '../../memory/refusal.js'
import { planOn } from '../planning/residence.js'
import { describeNetworks } from './open-pipeline.js'
import { readNetworkHeaders } from './read-network-headers.js'
import { readParts } from './read-parts.js'
import { guidanceOf, type GuidanceSpec, type PipelineSpec } from '../pipeline-spec.js'
import { decidePlaces } from '../planning/place-networks.js'
import type { LoadNote, LoadPipelineOptions, PipelineInfo } from '../types.js'
import type { DeviceName } from '../../memory/device-info.js'
import type { ChosenDevices } from './choose-devices.js'

/** The generation to plan for. */
export interface PlannedSize {
  /** In pixels. Default: the model's width. */
  readonly width?: number | undefined
  /** In pixels. Default: the model's height. */
  readonly height?: number | undefined
  /** 1 to 64 images at once. Default 1. */
  readonly numImagesPerPrompt?: number | undefined
  /** Stable Diffusion 3: how many of T5's tokens are used, 1 to 512. Default 256. */
  readonly maxSequenceLength?: number | undefined
  /** At most 1: plan without guidance, for which the denoiser takes half as much. By default with guidance. */
  readonly guidanceScale?: number | undefined
  /** FLUX.1: above 1: plan with a negative prompt, for which the transformer takes twice as much. Default: without. */
  readonly trueCfgScale?: number | undefined
  /** Whether the generation starts from an image, which the autoencoder encodes first; for FLUX.2-klein, whether it has one reference image of its size. Default false. */
  readonly imageToImage?: boolean | undefined
  /** Stable Diffusion 3.5: the blocks that skip-layer guidance leaves out. By default no skip-layer guidance. */
  readonly skipGuidanceLayers?: readonly number[] | undefined
}

/** The devices of components, and the memory that they take. */
export interface PlacedPlan {
  /** Of the image, in pixels. */
  readonly width: number
  /** Of the image, in pixels. */
  readonly height: number
  /** The device of each component, by name. */
  readonly places: Readonly<Record<string, DeviceName>>
  /** By the device's name. */
  readonly devices: Readonly<Partial<Record<DeviceName, MemoryPlan>>>
}

/** What loading a pipeline and generating an image would take. */
export interface PipelinePlan extends PlacedPlan, Pick<PipelineInfo, 'className' | 'label' | 'repo' | 'revision' | 'components'> {
  /** Bytes of weight files that a load would download. Cached files, and networks whose quantized copy is cached, need none. */
  readonly downloadBytes: number
  /** The warnings that `fromPretrained` would give. */
  readonly warnings: readonly string[]
  /** What `fromPretrained` would ignore, assume or replace in the checkpoint. */
  readonly notes: readonly LoadNote[]
}

/**
 * Plans what `fromPretrained` with these options and one generation would take. Devices are opened and closed again; small files are cached.
 * @throws InputError `size`, `num-images-per-prompt`, `max-sequence-length`, `guidance-scale`; DeviceError `does-not-fit` with bytes needed and offered; and what
 * `fromPretrained` throws before weights
 */
export async function planPipeline(
  repo: PipelineSource,
  options: OpenPipelineOptions & PlannedSize,
  specs: readonly PipelineSpec[],
): Promise<PipelinePlan> {
  const costs: OpeningCost[] = []
  const onOpen = (cost: OpeningCost) => costs.push(cost)
  return findPipeline(repo, options, specs, async ({ layout, spec, placing, run, open, store, close }) => {
    const { sources } = await readParts({ layout, spec, options, open, run })
    const networks = await readNetworkHeaders({ sources, options, store, run, onOpen })
    const plan = orThrow(planNetworks(placing, networks, options, spec))
    for (const device of placing.devices.values()) await device.dispose()
    close()
    return {
      className: spec.className,
      label: spec.label,
      repo: layout.repository.id,
      revision: layout.repository.revision,
      components: describeNetworks(networks, (name) => placeIn(plan, name)),
      downloadBytes: costs.reduce((sum, { fetched }) => sum + fetched, 0),
      ...plan,
      warnings: run.warnings,
      notes: run.notes,
    }
  })
}

function placeIn({ places }: PlacedPlan, network: string): DeviceName {
  const place = places[network]
  if (place === undefined) throw new TypeError(`The plan has no device for ${network}.`)
  return place
}

/**
 * Plans networks for one generation, on devices that may be described only. A refusal says `does-not-fit` or `buffer-too-large`.
 * @throws InputError `size`, `guidance-scale` and others of a generation's
 */
export function planNetworks(
  { devices, places, budget }: ChosenDevices<PlannedDevice>,
  networks: ReadonlyMap<string, Network>,
  options: Pick<LoadPipelineOptions, 'offload' | 'vaeTiling'> & PlannedSize,
  spec: GuidanceSpec & Pick<PipelineSpec, 'takesReferences'>,
): PlacedPlan | Refusal {
  const { width, height, latent } = plannedSize(networks, options, spec)
  const placing = decidePlaces({ devices: [...devices.values()], places, budget, networks, options })
  if (isRefusal(placing)) return placing
  const plans = new Map<DeviceName, MemoryPlan>()
  for (const { device, offload } of placing.used) {
    const { info } = device
    const here = (network: string) => placing.placed.get(network) === info.name
    const request = { device, networks, here, dtype: placing.dtype, vaeTiling: options.vaeTiling, size: latent }
    const needs = needsOn(request)
    const plan = planOn({ offload, needs, heldBytes: heldOn(request, needs), device: info, budget: budgetOn(budget, info) })
    if (isRefusal(plan)) return plan
    plans.set(info.name, plan)
  }
  return { width, height, places: Object.fromEntries(placing.placed), devices: Object.fromEntries(plans) }
}

function plannedSize(
  networks: ReadonlyMap<string, Network>,
  requested: PlannedSize,
  spec: GuidanceSpec & Pick<PipelineSpec, 'takesReferences'>,
) {
  const factor = autoencoderOf(networks)?.model.scaleFactor ?? 8
  const own = latentSize(networks)
  const { width = own.width * factor, height = own.height * factor } = requested
  const denoiser = denoiserOf(networks)
  checkSize({ width, height }, factor * (denoiser?.model.latents.patch ?? 1))
  checkAmounts(requested)
  const latent = { width: width / factor, height: height / factor }
  const guided = guidanceOf(spec, requested, denoiser?.model) !== null
  const { maxSequenceLength = spec.defaults.maxSequenceLength } = requested
  const fromImage = requested.imageToImage === true
  return {
    width,
    height,
    latent: generationSize(
      latent,
      { ...requested, maxSequenceLength },
      guided,
      fromImage,
      fromImage && spec.takesReferences === true ? [latent] : [],
    ),
  }
}
