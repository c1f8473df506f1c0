/** An SD3Transformer2DModel with one prompt's condition, and skip-layer guidance on top of it. */

import { decodeFloats, isFloatDType } from '../../checkpoint/convert-floats.js'
import type { WeightTable } from '../../checkpoint/types.js'
import { CheckpointError } from '../../errors.js'
import { sd3PositionRows, sd3TimestepProjection } from '../../models/sd3-transformer-2d.js'
import type { ComponentHost } from '../component-host.js'
import type { Network } from '../networks.js'
import { FixedInputs, runDenoiser, type Correction, type Predictor, type Refinement } from '../predictor.js'
import type { Recorder } from '../recorder.js'
import type { Run } from '../run-hooks.js'
import type { PlainTensor } from '../types.js'
import { elementCount } from '../../util/element-count.js'

/** What the transformer is shown besides latents, with guidance the unconditional half first. */
export interface Sd3Condition {
  readonly encoder_hidden_states: PlainTensor
  readonly pooled_projections: PlainTensor
}

/** Steering away from what the network predicts without some of its blocks. */
export interface SkipLayerGuidance {
  readonly layers: readonly number[]
  readonly scale: number
  /** It runs in the steps strictly between these parts of the whole. */
  readonly start: number
  readonly stop: number
  /** The text's own condition, without the half for guidance. */
  readonly condition: Sd3Condition
}

const how = { sample: 'hidden_states', timestepProjection: (timesteps: readonly number[]) => sd3TimestepProjection(timesteps) }

/** Reads the part of the position table that the size needs, and uploads the condition. */
export async function sd3Predictor(
  transformer: Network,
  condition: Sd3Condition,
  size: { readonly height: number; readonly width: number },
  skip: SkipLayerGuidance | null,
  { host, recorder, run }: { readonly host: ComponentHost; readonly recorder: Recorder; readonly run: Run },
): Promise<Predictor> {
  const positions = await readPositions(transformer.table, sd3PositionRows(transformer.config, size), run.signal)
  const fixed = new FixedInputs({ ...condition, pos_embed: positions }, transformer, host)
  const plain = skip === null ? null : new FixedInputs({ ...skip.condition, pos_embed: positions }, transformer, host)
  const refine = async ({ index, total, timestep, sample }: Refinement): Promise<Correction | null> => {
    if (skip === null || plain === null || index <= total * skip.start || index >= total * skip.stop) return null
    const without = await runDenoiser(transformer, how, plain, sample, timestep, host, run, { skipLayers: skip.layers })
    if (recorder.wants('noise_pred'))
      recorder.keep('noise_pred', { dims: sample.dims, data: await without.read() }, index, 'noise_pred_skip_layers')
    return { without, scale: skip.scale }
  }
  return {
    name: transformer.name,
    get device() {
      return host.device
    },
    recovering: (work) => host.recovering(transformer, run, work),
    predict: (sample, timestep) => runDenoiser(transformer, how, fixed, sample, timestep, host, run),
    refine: skip === null ? undefined : refine,
    dispose: () => {
      fixed.dispose()
      plain?.dispose()
    },
  }
}

/** [patches, width] of the position table, widened to float32. @throws CheckpointError `tensor-missing`, `shape-mismatch`, `dtype-mismatch` */
async function readPositions(
  table: WeightTable,
  { tensor, shape, runs }: ReturnType<typeof sd3PositionRows>,
  signal: AbortSignal | undefined,
): Promise<PlainTensor> {
  const entry = table.get(tensor)
  if (entry === undefined) throw new CheckpointError('tensor-missing', `The transformer has no ${tensor}.`, { tensor })
  if (entry.shape.join() !== shape.join())
    throw new CheckpointError(
      'shape-mismatch',
      `${tensor} has shape [${entry.shape.join(', ')}]; its config asks for [${shape.join(', ')}].`,
      {
        tensor,
        actual: entry.shape,
        expected: shape,
      },
    )
  const { dtype, source } = entry
  if (!isFloatDType(dtype))
    throw new CheckpointError('dtype-mismatch', `${tensor} holds ${dtype}; expected floats.`, { tensor, actual: dtype })
  const elementBytes = (entry.end - entry.begin) / elementCount(shape)
  const parts = await Promise.all(
    runs.map(async ({ begin, end }) =>
      decodeFloats(
        await source.read({ begin: entry.begin + begin * elementBytes, end: entry.begin + end * elementBytes }, { signal }),
        dtype,
      ),
    ),
  )
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    data.set(part, at)
    at += part.length
  }
  return { dims: [data.length / shape[2], shape[2]], data }
}
