import { CheckpointError } from '../../errors.js'
import type { DenoiserModel } from '../../models/types.js'
import type { DeviceTensor, HostTensor } from '../../runtime/types.js'
import { hostTensor, type ComponentHost } from '../execution/component-host.js'
import { DeviceValues } from '../execution/device-values.js'
import type { Network } from '../bind-network.js'
import { runDenoiser, type Correction, type Predictor, type Refinement } from '../generation/predictor.js'
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
  condition: DeviceValues,
  skip: SkipLayerGuidance | null,
  { host, recorder, run }: { readonly host: ComponentHost; readonly recorder: Recorder; readonly run: Run },
): Predictor {
  const text = new DeviceValues(host, async () => textHalves(host.device, await condition.get(), transformer.name))
  const refine = async ({ index, total, timestep, sample }: Refinement): Promise<Correction | null> => {
    if (skip === null || index <= total * skip.start || index >= total * skip.stop) return null
    const shown = { ...(await condition.get()), ...(await text.get()) }
    const without = await runDenoiser(transformer, shown, sample, timestep, host, run, { skipLayers: skip.layers })
    if (recorder.wants('noise_pred'))
      recorder.keep('noise_pred', { dims: sample.dims, data: await without.read() }, index, 'noise_pred_skip_layers')
    return { without, scale: skip.scale }
  }
  return {
    name: transformer.name,
    get device() {
      return host.device
    },
    recovering: (work) => host.recovering(transformer, run, work, () => condition.get()),
    predict: async (sample, timestep) => runDenoiser(transformer, await condition.get(), sample, timestep, host, run),
    refine: skip === null ? undefined : refine,
    release: () => {
      text.release()
      condition.release()
    },
  }
}

/** The text's own prompt embeddings, without the half for guidance. */
function textHalves(device: Device, both: Readonly<Record<string, DeviceTensor>>, owner: string): Record<string, DeviceTensor> {
  const halves = Object.entries(both)
    .filter(([name]) => name !== 'pos_embed')
    .map(([name, tensor]) => {
      const [batch = 0, ...row] = tensor.dims
      const origin = row.map(() => 0)
      const piece = { tensor, at: [0, ...origin], from: [batch / 2, ...origin] }
      return [name, device.assemble([piece], [batch / 2, ...row], owner)] as const
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
  return hostTensor(dims, data)
}
