/** Opens the parts and the devices of a pipeline of any family, and decides where its weights are kept. */

import type { DeviceHosts } from '../execution/device-hosts.js'
import { findPipeline, type OpenPipelineOptions, type PipelineSource } from './find-pipeline.js'
import type { OpenLoraRequest } from './adapters/open-lora.js'
import type { OpenRepositoryOptions } from '../../hub/repositories/open-repository.js'
import { loadNetworks, measureNetwork, type MakeTable } from './load-networks.js'
import { readParts, type LoadedParts } from './read-parts.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import type { AutoencoderModel, DenoiserModel } from '../../models/types.js'
import type { Network } from '../bind-network.js'
import { KernelPreparation } from './prepare-kernels.js'
import { refuseBeforeDownload } from './read-network-headers.js'
import { transformWeights } from './transform-weights.js'
import type { LoadNote, PipelineInfo } from '../pipeline-info.js'
import type { DeviceName } from '../../memory/device-info.js'
import { placeNetworks } from './open-devices.js'

/** Everything a pipeline class is constructed from. */
export interface OpenedPipeline<Spec extends PipelineSpec = PipelineSpec> {
  readonly spec: Spec
  readonly parts: LoadedParts
  readonly hosts: DeviceHosts
  /** What loading ignored, assumed or replaced in the checkpoint. */
  readonly notes: readonly LoadNote[]
  /** Allows the cache to evict the repositories' files again. */
  readonly close: () => void
  /**
   * Begins to compile the kernels of these networks for the generation that `prepareFor` describes. Returns undefined if `prepareFor` is
   * null or not given.
   */
  readonly prepare: (only: ReadonlySet<string>) => KernelPreparation | undefined
  /** The hub and the options with which later files, such as LoRAs, are opened. */
  readonly opening: Pick<OpenLoraRequest, 'hub'> & { readonly options: OpenRepositoryOptions }
}

/**
 * Opens the pipeline of a repository, as one of the families in `specs`.
 * @throws UnsupportedError `unsupported-class`, `unsupported-config`; InputError; HubError; CheckpointError; DeviceError; AbortError
 */
export async function openPipeline<Spec extends PipelineSpec>(
  repo: PipelineSource,
  options: OpenPipelineOptions,
  specs: readonly Spec[],
): Promise<OpenedPipeline<Spec>> {
  return findPipeline(repo, options, specs, async ({ layout, spec, placing, run, open, store, ...found }) => {
    const { sources, ...read } = await readParts({ layout, spec, options, open, run })
    const known = await refuseBeforeDownload({ sources, options, store, placing, spec, signal: run.signal })
    let previous: KernelPreparation | undefined
    const prepare = (described: ReadonlyMap<string, Network>, only?: ReadonlySet<string>) => {
      const { prepareFor: size } = options
      if (size === undefined || size === null) return undefined
      previous = new KernelPreparation({ placing, networks: described, options, size, spec, only, previous })
      return previous
    }
    const preparation = known && prepare(known)
    found.onPreparation(preparation)
    const makeTable: MakeTable = async (request) => {
      const transformed = await transformWeights(request, await store?.(), run)
      found.onClose(transformed.release)
      return transformed.table
    }
    const parts = { ...read, networks: await loadNetworks({ sources, options, makeTable, run }) }
    const hosts = await placeNetworks(placing, parts.networks, options, spec, preparation)
    run.status('ready')
    const { endpoint, token, baseUrl } = options
    const opening = { hub: found.hub, options: { endpoint, token, baseUrl } }
    return {
      spec,
      parts,
      hosts,
      notes: run.notes,
      close: found.close,
      prepare: (only) => prepare(parts.networks, only),
      opening,
    }
  })
}

/** The networks as `PipelineInfo` and plans describe them. */
export function describeNetworks(
  networks: ReadonlyMap<string, Network>,
  placeOf: (network: string) => DeviceName,
): PipelineInfo['components'] {
  const described = [...networks.values()].map((network) => {
    const { name, model, repo, quantization } = network
    return [name, { className: model.className, repo, device: placeOf(name), quantization, ...measureNetwork(network) }] as const
  })
  return Object.fromEntries(described)
}

/** The two networks that every pipeline has. */
export interface ImageNetworks {
  readonly denoiser: Network<DenoiserModel>
  readonly vae: Network<AutoencoderModel>
}

/** The part of `PipelineInfo` that does not depend on the text encoders. */
export function describePipeline(
  { spec, parts, hosts, notes }: Pick<OpenedPipeline, 'spec' | 'parts' | 'hosts' | 'notes'>,
  { denoiser, vae }: ImageNetworks,
  defaults: PipelineInfo['defaults'],
  scheduler: PipelineInfo['scheduler'],
): Omit<PipelineInfo, 'promptWeighting'> {
  const { device, dtype, memoryBudget } = hosts.of(denoiser.name)
  const guidance =
    denoiser.model.guidanceInputs !== undefined ? 'embedded' : spec.guidance === 'classifier-free' ? 'classifier-free' : 'none'
  return {
    className: spec.className,
    label: spec.label,
    repo: parts.layout.repository.id,
    revision: parts.layout.repository.revision,
    device: device.info,
    dtype: device.writeOptions({ dtype, granularity: 'block' }).dtype,
    devices: hosts.devices,
    components: describeNetworks(parts.networks, (name) => hosts.of(name).device.info.name),
    defaults,
    scheduler,
    memoryBudget,
    imageToImage: vae.model.hasEncoder(vae.table.keys()),
    guidance,
    takesNegativePrompt: spec.takesTrueCfg === true || (spec.takesNegativePrompt !== false && guidance === 'classifier-free'),
    takesReferences: spec.takesReferences === true,
    notes,
  }
}
