/** Opens what a pipeline of any family needs: repository, parts, device, and the decision where weights stay. */

import type { Repository } from '../../hub/types.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import { findPipeline, type OpenPipelineOptions } from './find-pipeline.js'
import { loadNetworks, measureNetwork, readParts, type LoadedParts, type MakeTable } from './load-networks.js'
import type { AutoencoderModel, DenoiserModel } from '../../models/types.js'
import type { Network } from '../bind-network.js'
import { refuseBeforeDownload } from './peek-networks.js'
import { transformWeights } from './transform-weights.js'
import type { PipelineInfo } from '../types.js'
import type { DeviceName } from '../../memory/device-info.js'
import { placeNetworks } from './open-devices.js'
import type { PipelineSpec } from '../pipeline-spec.js'

/** Everything a pipeline class is constructed from. */
export interface OpenedPipeline<Spec extends PipelineSpec = PipelineSpec> {
  readonly spec: Spec
  readonly parts: LoadedParts
  readonly hosts: DeviceHosts
  /** Lets the cache evict the repositories' files again. */
  readonly close: () => void
}

/**
 * Opens a pipeline of one of the families in `specs`, by its repository's model_index.json.
 * @throws UnsupportedError `unsupported-class`, `unsupported-config`; InputError; HubError; CheckpointError; DeviceError; AbortError
 */
export async function openPipeline<Spec extends PipelineSpec>(
  repo: string | Repository,
  options: OpenPipelineOptions,
  specs: readonly Spec[],
): Promise<OpenedPipeline<Spec>> {
  return findPipeline(repo, options, specs, async ({ repository, index, spec, placing, run, open, store, ...found }) => {
    const read = await readParts(repository, index, spec, options, open, run)
    await refuseBeforeDownload(read, placing, options, store, run.signal)
    const makeTable: MakeTable = async (request) => {
      const transformed = await transformWeights(request, await store?.(), run)
      found.onClose(transformed.release)
      return transformed.table
    }
    const parts = { ...read, networks: await loadNetworks(read, options, makeTable, run) }
    const hosts = await placeNetworks(placing, parts.networks, options)
    run.status('ready')
    return { spec, parts, hosts, close: found.close }
  })
}

/** What `PipelineInfo` and plans say of networks. */
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

/** What `PipelineInfo` says of any family. */
export function describePipeline(
  { spec, parts, hosts }: OpenedPipeline,
  { denoiser, vae }: ImageNetworks,
  defaults: PipelineInfo['defaults'],
  scheduler: PipelineInfo['scheduler'],
): PipelineInfo {
  const { device, dtype, memoryBudget } = hosts.of(denoiser.name)
  return {
    className: spec.className,
    label: spec.label,
    repo: parts.repository.id,
    revision: parts.repository.revision,
    device: device.info,
    dtype: device.writeOptions({ dtype, granularity: 'block' }).dtype,
    devices: hosts.devices,
    components: describeNetworks(parts.networks, (name) => hosts.of(name).device.info.name),
    defaults,
    scheduler,
    memoryBudget,
    imageToImage: vae.model.hasEncoder(vae.table.keys()),
  }
}
