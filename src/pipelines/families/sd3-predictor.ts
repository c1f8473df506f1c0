import { CheckpointError } from '../../errors.js'
import type { DenoiserModel } from '../../models/types.js'
import type { HostTensor } from '../../runtime/types.js'
import type { ComponentHost } from '../execution/component-host.js'
import { float32Tensor } from '../generation/tensors.js'
import type { Network } from '../bind-network.js'
import { runDenoiser, type Condition, type Correction, type Predictor, type Refinement } from '../generation/predictor.js'
import type { Keep } from '../generation/tensors.js'
import type { Run, Recorder } from '../run.js'
import { elementCount } from '../../util/element-count.js'
import { decodeFloats, isFloatDType } from '../../checkpoint/element-types.js'
import type { Device } from '../../runtime/device.js'

/** Steering away from what the network predicts without some of its blocks. */
export interface SkipLayerGuidance {
  readonly layers: readonly number[]
  readonly scale: number
  /** It runs in the steps strictly between these parts of the whole. */
  readonly start: number
  readonly stop: number
}

/** `condition`: `encoder_hidden_states`, `pooled_projections` and `pos_embed`, with skip-layer guidance for both halves of guidance. */
export function sd3Predictor(
  transformer: Network<DenoiserModel>,
  condition: Condition,
  skip: SkipLayerGuidance | null,
  {
    host,
    recorder,
    run,
    keep,
  }: { readonly host: ComponentHost; readonly recorder: Recorder; readonly run: Run; readonly keep: Keep },
): Predictor {
  const predictor: Predictor = {
    name: transformer.name,
    device: host.device,
    predict: (sample, timestep) => runDenoiser(transformer, condition, sample, timestep, host, run),
  }
  if (skip === null) return predictor
  let text: Condition | undefined
  const refine = async ({ index, total, timestep, sample }: Refinement): Promise<Correction | null> => {
    if (index <= total * skip.start || index >= total * skip.stop) return null
    text ??= textHalves(host.device, condition, transformer.name, keep)
    const inputs = { ...condition, ...text }
    const without = await runDenoiser(transformer, inputs, sample, timestep, host, run, { skipLayers: skip.layers })
    await recorder.read('noise_pred', without, index, 'noise_pred_skip_layers')
    return { without, scale: skip.scale }
  }
  return { ...predictor, refine }
}

/** The text's own prompt embeddings, without the half for guidance. */
function textHalves(device: Device, both: Condition, owner: string, keep: Keep): Condition {
  const halves = Object.entries(both)
    .filter(([name]) => name !== 'pos_embed')
    .map(([name, tensor]) => {
      const [batch = 0, ...row] = tensor.dims
      const origin = row.map(() => 0)
      const piece = { tensor, at: [0, ...origin], from: [batch / 2, ...origin] }
      return [name, keep(device.assemble([piece], [batch / 2, ...row], owner))] as const
    })
  return Object.fromEntries(halves)
}

/**
 * The rows of the position table that a size in latent pixels needs, [patches, width], widened to float32.
 * @throws CheckpointError `tensor-missing`, `shape-mismatch`, `dtype-mismatch`
 */
export async function readPositions(
  { model, table }: Network<DenoiserModel>,
  size: { readonly height: number; readonly width: number },
  signal: AbortSignal | undefined,
): Promise<HostTensor> {
  const { pos_embed: rows } = model.tableInputs(size)
  if (rows === undefined) throw new TypeError(`${model.className} has no position table.`)
  const { tensor, shape, runs, dims } = rows
  const entry = table.get(tensor)
  if (entry === undefined) throw new CheckpointError('tensor-missing', `The transformer has no ${tensor}.`, { tensor })
  if (entry.shape.join() !== shape.join())
    throw new CheckpointError(
      'shape-mismatch',
      `${tensor} has shape [${entry.shape.join(', ')}]; its config requires [${shape.join(', ')}].`,
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
  return float32Tensor(dims, data)
}
