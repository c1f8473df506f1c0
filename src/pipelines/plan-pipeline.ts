/**
 * What a pipeline would take, before anything of its weights is loaded: bytes to download, and for each device which component or block
 * has its weights there when, and the peak to expect. Of weight files only the headers are read.
 */

import { convertTable } from '../checkpoint/convert.js'
import { peeking } from '../hub/peeking.js'
import type { ByteSource, PeekedSource, Repository } from '../hub/types.js'
import { fittingResidence, guessBudget, leastBudget, planMemory, type MemoryPlan } from '../runtime/memory-plan.js'
import type { DeviceName } from '../runtime/types.js'
import { checkAmounts, checkSize } from './check-inputs.js'
import { quantizeOptions } from './dtypes.js'
import { findPipeline, type OpenPipelineOptions } from './find-pipeline.js'
import { heldOn, latentSize, needsOn, type PlannedDevice } from './memory-needs.js'
import type { Network } from './networks.js'
import { budgetOf, type MemoryBudgets } from './offload.js'
import { describeNetworks } from './open-pipeline.js'
import { loadParts, type PipelineSpec, type Quantize } from './pipeline-loading.js'
import { decidePlaces, type DevicePlace, type OpenDevices } from './place-networks.js'
import { rememberedTable } from './quantize-weights.js'
import type { LoadPipelineOptions, PipelineInfo } from './types.js'
import { vaeScaleFactor } from './vae-decoder.js'

/** WebAssembly's whole heap: what the CPU has where nobody set it a budget. */
const wasmHeapBytes = 2 ** 32

/** The generation that is planned for. */
export interface PlannedSize {
  /** Pixels; the model's own width where absent. */
  readonly width?: number | undefined
  /** Pixels; the model's own height where absent. */
  readonly height?: number | undefined
  /** 1 to 64 images at once. Default 1. */
  readonly numImagesPerPrompt?: number | undefined
  /** Stable Diffusion 3: how many of T5's tokens are used, 1 to 512. Default 256. */
  readonly maxSequenceLength?: number | undefined
}

/** Where components would be, and what that takes. */
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

/** What loading a pipeline and making an image with it would take. */
export interface PipelinePlan extends PlacedPlan, Pick<PipelineInfo, 'className' | 'repo' | 'revision' | 'components'> {
  /** Bytes of weight files that a load would have to fetch: those that are cached, and small forms that are there already, need none. */
  readonly downloadBytes: number
  /** What `fromPretrained` would warn of. */
  readonly warnings: readonly string[]
}

/**
 * Plans what `fromPretrained` with these options and one generation would take. Devices are opened and closed again; small files are cached.
 * @throws InputError `size`, `num-images-per-prompt`, `max-sequence-length`; DeviceError `does-not-fit` with bytes needed and offered; and what
 * `fromPretrained` throws before weights
 */
export async function planPipeline(
  repo: string | Repository,
  options: OpenPipelineOptions & PlannedSize,
  specs: readonly PipelineSpec[],
): Promise<PipelinePlan> {
  const toFetch = new Set<ByteSource>()
  const onPeek = (source: PeekedSource) => {
    if (!source.isCached) toFetch.add(source)
  }
  const view = (repository: Repository) => peeking(repository, onPeek)
  return findPipeline(repo, options, specs, view, async ({ repository, index, spec, placing, run, open, store, close }) => {
    const quantize: Quantize = async ({ read, word, contents }) => {
      const made = await rememberedTable(await store?.(), word, contents)
      return made ?? convertTable(await read(run.signal), { dtype: 'F16', quantize: quantizeOptions(word) })
    }
    const { networks } = await loadParts(repository, index, spec, options, open, quantize, run)
    const plan = planNetworks(placing, networks, options)
    for (const device of placing.devices.values()) await device.dispose()
    close()
    return {
      className: spec.className,
      repo: repository.id,
      revision: repository.revision,
      components: describeNetworks(networks, (name) => plan.places[name] ?? 'wasm'),
      downloadBytes: [...toFetch].reduce((sum, { byteLength }) => sum + byteLength, 0),
      ...plan,
      warnings: run.warnings,
    }
  })
}

/** Plans networks for one generation with guidance, on devices that may be described only. @throws InputError `size`; DeviceError `does-not-fit` */
export function planNetworks(
  { devices, places, budgets }: Omit<OpenDevices, 'devices' | 'total'> & { readonly devices: ReadonlyMap<string, PlannedDevice> },
  networks: ReadonlyMap<string, Network>,
  options: Pick<LoadPipelineOptions, 'offload' | 'vaeTiling'> & PlannedSize,
): PlacedPlan {
  const { width, height, latent } = plannedSize(networks, options)
  const { dtype, placed, used } = decidePlaces([...devices.values()], places, budgets, networks, options)
  const plans = used.map((place): [DeviceName, MemoryPlan] => {
    const needs = needsOn(place.device, networks, dtype, options.vaeTiling, latent).filter(({ name }) =>
      place.needs.some((own) => own.name === name),
    )
    const held = heldOn(place.device, networks, latent)
    return [place.device.info.name, planOn({ ...place, needs, heldBytes: held }, budgets)]
  })
  return { width, height, places: Object.fromEntries(placed), devices: Object.fromEntries(plans) }
}

/** The plan on one device: of the residence that was decided, or the next tighter one where the image asks for more room. */
function planOn({ device: { info }, needs, heldBytes, offload }: DevicePlace<PlannedDevice>, budgets: MemoryBudgets): MemoryPlan {
  if (info.kind === 'wasm') return planMemory(needs, { offload, maxMemory: budgets.named.get('wasm') ?? wasmHeapBytes })
  const given = budgetOf(budgets, info.name)
  if (given === undefined) {
    // A guess that is too small is no reason to refuse: the load goes on with as little as possible.
    const maxMemory = Math.max(guessBudget(info), leastBudget(needs, offload, heldBytes))
    return planMemory(needs, { offload, maxMemory, heldBytes })
  }
  return planMemory(needs, { offload: fittingResidence(needs, offload, given, heldBytes), maxMemory: given, heldBytes })
}

function plannedSize(networks: ReadonlyMap<string, Network>, asked: PlannedSize) {
  const vae = networks.get('vae')
  const factor = vae === undefined ? 8 : vaeScaleFactor(vae)
  const own = latentSize(networks)
  const { width = own.width * factor, height = own.height * factor } = asked
  checkSize({ width, height }, factor)
  checkAmounts(asked)
  const { numImagesPerPrompt: images, maxSequenceLength: t5Tokens } = asked
  return { width, height, latent: { width: width / factor, height: height / factor, images, t5Tokens } }
}
