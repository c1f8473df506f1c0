/** The memory plan of a checkpoint: what a page would keep on its devices within a budget, for each component. No tensor is loaded. */

import { InputError } from '../../src/errors.js'
import { checkDeviceMap } from '../../src/memory/balance.js'
import { parseBudget } from '../../src/memory/budget.js'
import {
  capabilitiesOf,
  computeType,
  kindOf,
  type DeviceKind,
  type DeviceName,
  ownKernels,
  fusesGeglu,
} from '../../src/memory/device-info.js'
import type { ComponentPlan } from '../../src/memory/plan.js'
import { isRefusal, orThrow, refusalError } from '../../src/memory/refusal.js'
import { chooseDevices, type DeviceSource } from '../../src/pipelines/loading/choose-devices.js'
import { checkDType } from '../../src/pipelines/loading/dtypes.js'
import { planNetworks, type PlacedPlan } from '../../src/pipelines/loading/plan-networks.js'
import { StorageCount, type LoadStorage } from '../../src/pipelines/loading/load-storage.js'
import { readNetworkHeaders } from '../../src/pipelines/loading/read-network-headers.js'
import type { NetworkSource } from '../../src/pipelines/loading/read-parts.js'
import type { PlannedDevice } from '../../src/pipelines/planning/memory-needs.js'
import { Run } from '../../src/pipelines/run.js'
import { activateLoras, type NamedLora } from './loras.js'
import type { PipelineSpec } from '../../src/pipelines/pipeline-spec.js'
import type { LoadPipelineOptions, PlannedSize } from '../../src/pipelines/types.js'

/** The generation to plan. */
export type MemoryRequest = Pick<LoadPipelineOptions, 'maxMemory' | 'deviceMap' | 'dtype' | 'offload'> & PlannedSize

/** The properties that a plan assumes for a device, because the command line opens none. */
interface AssumedDevice {
  /** Whether the device computes in float16. If not, float16 weights become float32 there, twice as large. */
  readonly shaderF16: boolean
  /** Bytes of the device's largest buffer. */
  readonly maxBufferSize: number
}

/** A plan, or the reason why there is none. */
export type PlannedMemory = { readonly assumedGpu: AssumedDevice; readonly storage: LoadStorage } & (
  | PlacedPlan
  | {
      readonly width: number
      readonly height: number
      readonly code: string
      readonly message: string
      /** The memory that each component would need on a GPU with enough memory, one component at a time. */
      readonly needs: readonly ComponentPlan[]
    }
)

const assumedGpu: AssumedDevice = { shaderF16: true, maxBufferSize: 2 ** 32 }

/** The properties that a plan assumes for each kind of device. The largest buffer of the CPU is WebAssembly's heap. */
const assumed: Readonly<Record<DeviceKind, AssumedDevice>> = {
  webgpu: assumedGpu,
  wasm: { shaderF16: false, maxBufferSize: 2 ** 32 },
}

/** Parses the values of `--dtype`, one for all components or one for each, into the option `dtype` of `fromPretrained`. @throws InputError `dtype` */
export function dtypeOption(values: readonly string[]): LoadPipelineOptions['dtype'] {
  const dtype = allOrNamed(values, 'dtype', 'one type for all, or types by component') as LoadPipelineOptions['dtype']
  checkDType(dtype)
  return dtype
}

/**
 * Parses the values of `--max-memory` into the option `maxMemory` of `fromPretrained`: `2GB` for the GPU, or `webgpu=2GB` for each device.
 * @throws InputError `max-memory`, `bad-memory-size`, `bad-device`
 */
export function memoryOption(values: readonly string[]): LoadPipelineOptions['maxMemory'] {
  const sizes = allOrNamed(values, 'max-memory', 'one size for the GPU, or sizes by device')
  parseBudget(sizes)
  return sizes
}

/**
 * Parses values like `unet=webgpu`, or `balanced`, into the option `deviceMap` of `fromPretrained`.
 * @throws InputError `device-map`, `bad-device-map`
 */
export function deviceMapOption(values: readonly string[]): LoadPipelineOptions['deviceMap'] {
  const map: unknown = allOrNamed(values, 'device-map', "'balanced', or devices by component")
  checkDeviceMap(map)
  return map
}

/** Returns one value for all, or an object of values by name. @throws InputError whose code is the option's name */
function allOrNamed(
  values: readonly string[],
  option: 'max-memory' | 'device-map' | 'dtype',
  expected: string,
): string | Record<string, string> | undefined {
  const all = values.filter((value) => !value.includes('='))
  const named = new Map(values.map((value) => [value.slice(0, value.indexOf('=')), value.slice(value.indexOf('=') + 1)]))
  if (all.length > 1 || (all.length > 0 && all.length < values.length) || (all.length === 0 && named.size < values.length))
    throw new InputError(option, `--${option} is given as ${values.join(' and ')}; expected ${expected}, each once.`, { values })
  if (values.length === 0) return undefined
  return all[0] ?? Object.fromEntries(named)
}

/** Devices that are described instead of opened: the assumed GPU, and the CPU. */
const describedDevices: DeviceSource<PlannedDevice> = {
  list: () => Promise.resolve(['webgpu', 'wasm']),
  open: (name) => Promise.resolve(describeDevice(name === undefined || name === 'auto' ? 'webgpu' : name)),
}

function describeDevice(name: DeviceName): PlannedDevice {
  const kind = kindOf[name]
  const info = {
    name,
    kind,
    description: '',
    isFallbackAdapter: false,
    ...assumed[kind],
    kernels: ownKernels,
    capabilities: capabilitiesOf[kind],
  } as const
  return {
    info,
    writeOptions: (wanted) => {
      const dtype = computeType(wanted.dtype, info)
      return { ...wanted, dtype, weights: info.capabilities.weightsAs, fusesGeglu: fusesGeglu(dtype, info) }
    },
  }
}

/** The planned image has guidance if the pipeline's class supports guidance, even if the checkpoint's default scale turns guidance off. */
const defaults = { numInferenceSteps: 1, guidanceScale: 2 }

/**
 * Plans the networks of a pipeline for one image, with guidance if the pipeline's class supports it.
 * @throws InputError `bad-device-map`, `dtype`, `size`
 */
export async function planMemoryOf(
  sources: readonly NetworkSource[],
  variant: string | null,
  request: MemoryRequest,
  {
    guidance,
    loras = [],
    signal,
  }: {
    readonly guidance: PipelineSpec['guidance']
    readonly loras?: readonly NamedLora[] | undefined
    readonly signal: AbortSignal
  },
): Promise<PlannedMemory> {
  const options = { variant: variant ?? undefined, dtype: request.dtype }
  const spec = { guidance, defaults }
  const count = new StorageCount()
  const run = new Run({ signal })
  const networks = await readNetworkHeaders({ sources, options, run, onOpen: count.onOpen, onCopy: count.onCopy })
  const storage = count.total
  activateLoras(loras, networks)
  const names = [...networks.keys()]
  const budget = parseBudget(request.maxMemory)
  const plan = planNetworks(await chooseDevices(describedDevices, request, budget, names), networks, request, spec)
  if (!isRefusal(plan)) return { assumedGpu, storage, ...plan }
  if (plan.refused !== 'does-not-fit') throw refusalError(plan)
  const unlimited = await chooseDevices(describedDevices, {}, parseBudget(undefined), names)
  const { width, height, devices } = orThrow(planNetworks(unlimited, networks, { ...request, offload: 'model' }, spec))
  return {
    assumedGpu,
    storage,
    width,
    height,
    code: plan.refused,
    message: plan.message,
    needs: Object.values(devices).flatMap(({ components }) => components),
  }
}
