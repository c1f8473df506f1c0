/**
 * Plans a pipeline before its weights are loaded: the bytes to download, and for each device the weights that it has at each time and the
 * expected peak. It reads only the headers of weight files.
 */

import { findPipeline, type OpenPipelineOptions, type PipelineSource } from './find-pipeline.js'
import { orThrow } from '../../memory/refusal.js'
import { describeNetworks } from './open-pipeline.js'
import { StorageCount, type LoadStorage } from './load-storage.js'
import { readNetworkHeaders } from './read-network-headers.js'
import { readParts } from './read-parts.js'
import { planNetworks, type PlacedPlan } from './plan-networks.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import type { LoadNote, PipelineInfo } from '../pipeline-info.js'
import type { PlannedSize } from '../types.js'
import type { DeviceName } from '../../memory/device-info.js'

/** The download, storage and memory that a load and a generation would need. */
export interface PipelinePlan
  extends PlacedPlan, LoadStorage, Pick<PipelineInfo, 'className' | 'label' | 'repo' | 'revision' | 'components'> {
  /** The warnings that `fromPretrained` would give. */
  readonly warnings: readonly string[]
  /** What `fromPretrained` would ignore, assume or replace in the checkpoint. */
  readonly notes: readonly LoadNote[]
}

/**
 * Plans `fromPretrained` with these options, and one generation. Devices are opened and closed again; small files are cached.
 * @throws InputError `size`, `num-images-per-prompt`, `max-sequence-length`, `guidance-scale`; DeviceError `does-not-fit` with bytes
 * needed and offered; and what `fromPretrained` throws before it loads weights
 */
export async function planPipeline(
  repo: PipelineSource,
  options: OpenPipelineOptions & PlannedSize,
  specs: readonly PipelineSpec[],
): Promise<PipelinePlan> {
  const storage = new StorageCount()
  return findPipeline(repo, options, specs, async ({ layout, spec, placing, run, open, store, close }) => {
    const { sources } = await readParts({ layout, spec, options, open, run })
    const networks = await readNetworkHeaders({ sources, options, store, run, onOpen: storage.onOpen, onCopy: storage.onCopy })
    const plan = orThrow(planNetworks(placing, networks, options, spec, (code, message) => run.warn(code, message)))
    for (const device of placing.devices.values()) await device.dispose()
    close()
    return {
      className: spec.className,
      label: spec.label,
      repo: layout.repository.id,
      revision: layout.repository.revision,
      components: describeNetworks(networks, (name) => placeIn(plan, name)),
      ...storage.total,
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
