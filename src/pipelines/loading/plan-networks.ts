/** Plans networks for one generation, from their headers alone: the device of each, and the weights that each device has at each time. */

import type { MemoryPlan } from '../../memory/plan.js'
import { checkAmounts, checkSize, roundedSize, type Warn } from '../check-inputs.js'
import {
  autoencoderOf,
  denoiserOf,
  generationSize,
  heldOn,
  latentSize,
  needsOn,
  type NeedsRequest,
  type PlannedDevice,
} from '../planning/memory-needs.js'
import type { Network } from '../bind-network.js'
import { budgetOn } from '../../memory/budget.js'
import { isRefusal, type Refusal } from '../../memory/refusal.js'
import { planOn } from '../planning/residence.js'
import { guidanceOf, roundsSize, type GuidanceSpec, type PipelineSpec } from '../pipeline-spec.js'
import { decidePlaces } from '../planning/place-networks.js'
import type { LoadPipelineOptions, PlannedSize } from '../types.js'
import type { DeviceName } from '../../memory/device-info.js'
import type { ChosenDevices } from './choose-devices.js'

/** The devices of components, and the memory that they take. */
export interface PlacedPlan {
  /** The image's width, in pixels. */
  readonly width: number
  /** The image's height, in pixels. */
  readonly height: number
  /** The device of each component, by name. */
  readonly places: Readonly<Record<string, DeviceName>>
  /** The plan of each device, by its name. */
  readonly devices: Readonly<Partial<Record<DeviceName, MemoryPlan>>>
}

/** The networks of a generation on one device, and the plan for them. */
export interface DevicePlan<D extends PlannedDevice> {
  readonly device: D
  readonly request: NeedsRequest
  readonly plan: MemoryPlan
}

/**
 * Plans networks for one generation, on devices that need not be open. A refusal says `does-not-fit` or `buffer-too-large`. `warn` receives
 * the warnings that the generation would give.
 * @throws InputError `size`, `guidance-scale` and the other errors of a generation with these options
 */
export function planNetworks(
  chosen: ChosenDevices<PlannedDevice>,
  networks: ReadonlyMap<string, Network>,
  options: Pick<LoadPipelineOptions, 'offload' | 'vaeTiling'> & PlannedSize,
  spec: GenerationSpec,
  warn?: Warn,
): PlacedPlan | Refusal {
  const planned = planDevices(chosen, networks, options, spec, warn)
  if (isRefusal(planned)) return planned
  const { width, height, placed, plans } = planned
  const devices = Object.fromEntries(plans.map(({ device, plan }) => [device.info.name, plan]))
  return { width, height, places: Object.fromEntries(placed), devices }
}

/** What a pipeline class says about the size of its generations. */
export type GenerationSpec = GuidanceSpec & Pick<PipelineSpec, 'takesReferences' | 'roundsSize'>

/**
 * Plans as {@link planNetworks} does, but also returns the devices themselves and the input of their plans.
 * @throws as {@link planNetworks}
 */
export function planDevices<D extends PlannedDevice>(
  { devices, places, budget }: ChosenDevices<D>,
  networks: ReadonlyMap<string, Network>,
  options: Pick<LoadPipelineOptions, 'offload' | 'vaeTiling'> & PlannedSize,
  spec: GenerationSpec,
  warn: Warn = () => {},
):
  | {
      readonly width: number
      readonly height: number
      readonly placed: ReadonlyMap<string, DeviceName>
      readonly plans: readonly DevicePlan<D>[]
    }
  | Refusal {
  const { width, height, latent } = plannedSize(networks, options, spec, warn)
  const placing = decidePlaces({ devices: [...devices.values()], places, budget, networks, options, wanted: () => latent })
  if (isRefusal(placing)) return placing
  const plans: DevicePlan<D>[] = []
  for (const { device, offload } of placing.used) {
    const { info } = device
    const here = (network: string) => placing.placed.get(network) === info.name
    const request = { device, networks, here, dtype: placing.dtype, vaeTiling: options.vaeTiling, size: latent }
    const needs = needsOn(request)
    const plan = planOn({ offload, needs, heldBytes: heldOn(request, needs), device: info, budget: budgetOn(budget, info) })
    if (isRefusal(plan)) return plan
    plans.push({ device, request, plan })
  }
  return { width, height, placed: placing.placed, plans }
}

/**
 * The generation that these options describe: its size in pixels, and what its memory depends on, in latent pixels.
 * @throws InputError `size`, `guidance-scale` and the other errors of a generation with these options
 */
export function plannedSize(
  networks: ReadonlyMap<string, Network>,
  requested: PlannedSize,
  spec: GenerationSpec,
  warn: Warn = () => {},
) {
  const factor = autoencoderOf(networks)?.model.scaleFactor ?? 8
  const own = latentSize(networks)
  const denoiser = denoiserOf(networks)
  const multiple = factor * (denoiser?.model.latents.patch ?? 1)
  const { width = own.width * factor, height = own.height * factor } = roundsSize(spec, requested.imageToImage === true)
    ? roundedSize(requested, multiple, warn)
    : requested
  checkSize({ width, height }, multiple)
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
