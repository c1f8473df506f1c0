/** The memory plan of a checkpoint: what a page would hold on its GPU within a budget, component by component. Nothing is loaded. */

import { convertTable } from '../src/checkpoint/convert.js'
import { InputError, isAquatintError } from '../src/errors.js'
import { quantizedWeights } from '../src/models/match-weights.js'
import { checkDType, dtypesOf, quantizeOptions } from '../src/pipelines/dtypes.js'
import { networkNeeds, runShapes } from '../src/pipelines/memory-needs.js'
import { storedType, type Network } from '../src/pipelines/networks.js'
import type { DTypeName, LoadPipelineOptions } from '../src/pipelines/types.js'
import { planMemory, type ComponentPlan, type MemoryPlan } from '../src/runtime/memory-plan.js'

/** What the plan is for. */
export interface MemoryRequest {
  readonly maxMemory: number
  readonly dtype: LoadPipelineOptions['dtype']
  /** Pixels; the model's own size when absent. */
  readonly width: number | undefined
  readonly height: number | undefined
}

/** A plan, or why there is none. */
export type PlannedMemory =
  | { readonly width: number; readonly height: number; readonly plan: MemoryPlan }
  | {
      readonly width: number
      readonly height: number
      readonly code: string
      readonly message: string
      /** What each component would take, one at a time, if there were enough. */
      readonly needs: readonly ComponentPlan[]
    }

/** Words of `--dtype`, all or by component, as `fromPretrained` takes them. @throws InputError `dtype` */
export function dtypeOption(values: readonly string[]): LoadPipelineOptions['dtype'] {
  const all = values.filter((value) => !value.includes('='))
  if (all.length > 1 || (all.length > 0 && all.length < values.length))
    throw new InputError(
      'dtype',
      `--dtype is given as ${values.join(' and ')}; expected one type for all, or types by component.`,
      { values },
    )
  const named = Object.fromEntries(values.filter((value) => value.includes('=')).map((value) => value.split('=', 2)))
  const dtype = (values.length === 0 ? undefined : (all[0] ?? named)) as LoadPipelineOptions['dtype']
  checkDType(dtype)
  return dtype
}

/** Plans the networks of a pipeline for images with guidance, one at a time. @throws InputError `dtype`, `size` */
export function planNetworks(networks: readonly Network[], request: MemoryRequest): PlannedMemory {
  const denoiser = networks.find(({ name }) => name === 'unet' || name === 'transformer')
  const vae = networks.find(({ name }) => name === 'vae')
  const blocks = vae?.config.block_out_channels
  const scale = 2 ** ((Array.isArray(blocks) ? blocks.length : 4) - 1)
  const sample = denoiser?.config.sample_size
  const own = (typeof sample === 'number' ? sample : 64) * scale
  const { width = own, height = own } = request
  for (const size of [width, height]) {
    if (!Number.isInteger(size) || size < scale || size > 8192 || size % scale !== 0)
      throw new InputError('size', `The size is ${width} × ${height}; allowed are multiples of ${scale} up to 8192.`, {
        width,
        height,
      })
  }
  const latent = { width: width / scale, height: height / scale }
  const dtypes = dtypesOf(request.dtype, networks)
  const fallback: DTypeName =
    dtypes.get(denoiser?.name ?? '')?.compute ?? (denoiser === undefined ? 'float32' : storedType(denoiser.table))
  const needs = networks.map((network) => {
    const { compute = fallback, quantization } = dtypes.get(network.name) ?? {}
    const table =
      quantization === undefined
        ? network.table
        : convertTable(network.table, { dtype: 'F16', quantize: quantizeOptions(quantization) })
    const upcast = network.className === 'AutoencoderKL' && network.config.force_upcast !== false
    const options = { dtype: upcast ? 'float32' : compute, quantized: quantizedWeights(network.className, table) } as const
    return networkNeeds({ ...network, table }, runShapes(network, latent), options)
  })
  try {
    return { width, height, plan: planMemory(needs, { offload: 'auto', maxMemory: request.maxMemory }) }
  } catch (error) {
    if (!isAquatintError(error) || error.code !== 'does-not-fit') throw error
    const { components } = planMemory(needs, { offload: 'model', maxMemory: Number.MAX_SAFE_INTEGER })
    return { width, height, code: error.code, message: error.message, needs: components }
  }
}
