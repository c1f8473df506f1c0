/**
 * Plans a pipeline before its weights are loaded: the bytes to download, and for each device which weights are on it when, and the expected
 * peak. Of weight files only the headers are read.
 */

import type { OpeningCost } from '../../hub/types.js'
import { findPipeline, type OpenPipelineOptions, type PipelineSource } from './find-pipeline.js'
import { orThrow } from '../../memory/refusal.js'
import { describeNetworks } from './open-pipeline.js'
import { readNetworkHeaders, type WeightsCopy } from './read-network-headers.js'
import { readParts } from './read-parts.js'
import { planNetworks, type PlacedPlan } from './plan-networks.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import type { LoadNote, PipelineInfo, PlannedSize } from '../types.js'
import type { DeviceName } from '../../memory/device-info.js'

/** What loading a pipeline and generating an image would take. */
export interface PipelinePlan extends PlacedPlan, Pick<PipelineInfo, 'className' | 'label' | 'repo' | 'revision' | 'components'> {
  /** Bytes of weight files that a load would download. Cached files, and networks whose quantized copy is cached, need none. */
  readonly downloadBytes: number
  /** Bytes of weights that the cache has after the load: the files, as far as they are used, and quantized copies. */
  readonly keptBytes: number
  /** The most bytes of weights that the cache may have during the load: with the originals that `keepOriginal: false` deletes. */
  readonly diskBytes: number
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
  const costs: (OpeningCost & { readonly path: string })[] = []
  const copies: WeightsCopy[] = []
  return findPipeline(repo, options, specs, async ({ layout, spec, placing, run, open, store, close }) => {
    const { sources } = await readParts({ layout, spec, options, open, run })
    const networks = await readNetworkHeaders({
      sources,
      options,
      store,
      run,
      onOpen: (cost, path) => costs.push({ ...cost, path }),
      onCopy: (copy) => copies.push(copy),
    })
    const plan = orThrow(planNetworks(placing, networks, options, spec))
    for (const device of placing.devices.values()) await device.dispose()
    close()
    return {
      className: spec.className,
      label: spec.label,
      repo: layout.repository.id,
      revision: layout.repository.revision,
      components: describeNetworks(networks, (name) => placeIn(plan, name)),
      ...storageOf(costs, copies),
      ...plan,
      warnings: run.warnings,
      notes: run.notes,
    }
  })
}

/** What the files and copies of a load take of the network and of the cache. Nothing that comes from a disk is stored. */
function storageOf(
  costs: readonly (OpeningCost & { readonly path: string })[],
  copies: readonly WeightsCopy[],
): Pick<PipelinePlan, 'downloadBytes' | 'keptBytes' | 'diskBytes'> {
  const replaced = new Set(copies.flatMap(({ replaces }) => replaces))
  const copied = copies.reduce((sum, { bytes }) => sum + bytes, 0)
  const original = (files: typeof costs) => files.reduce((sum, { kept }) => sum + kept, 0)
  return {
    downloadBytes: costs.reduce((sum, { fetched }) => sum + fetched, 0),
    keptBytes: original(costs.filter(({ path }) => !replaced.has(path))) + copied,
    diskBytes: original(costs) + copied,
  }
}

function placeIn({ places }: PlacedPlan, network: string): DeviceName {
  const place = places[network]
  if (place === undefined) throw new TypeError(`The plan has no device for ${network}.`)
  return place
}
