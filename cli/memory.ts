/** The memory plan of a checkpoint: what a page would hold on its devices within a budget, component by component. Nothing is loaded. */

import { transformTable } from '../src/checkpoint/transforms/transform-table.js'
import { InputError } from '../src/errors.js'
import { checkDType, dtypesOf, quantizingTransforms } from '../src/pipelines/loading/dtypes.js'
import type { Network } from '../src/pipelines/bind-network.js'
import { parseBudget, type Budget } from '../src/memory/budget.js'
import type { PlannedDevice } from '../src/pipelines/planning/memory-needs.js'
import { planNetworks, type PlacedPlan, type PlannedSize } from '../src/pipelines/loading/plan-pipeline.js'
import type { LoadPipelineOptions } from '../src/pipelines/types.js'
import { checkDeviceMap, checkMappedComponents, mappedDevice } from '../src/memory/balance.js'
import type { ComponentPlan } from '../src/memory/plan.js'
import { isRefusal, orThrow, refusalError } from '../src/memory/refusal.js'
import { capabilitiesOf, computeType, type DeviceName } from '../src/memory/device-info.js'

/** What the plan is for. */
export type MemoryRequest = Pick<LoadPipelineOptions, 'maxMemory' | 'deviceMap' | 'dtype' | 'offload'> & PlannedSize

/** A GPU that nobody asked: what plans made without one take it to be. */
interface AssumedGpu {
  /** Whether it computes in float16; one that does not takes float16 weights as float32, twice as large. */
  readonly shaderF16: boolean
  /** Bytes of its largest buffer. */
  readonly maxBufferSize: number
}

/** A plan, or why there is none. */
export type PlannedMemory = { readonly assumedGpu: AssumedGpu } & (
  | PlacedPlan
  | {
      readonly width: number
      readonly height: number
      readonly code: string
      readonly message: string
      /** What each component would take on a GPU, one at a time, if there were enough. */
      readonly needs: readonly ComponentPlan[]
    }
)

const assumedGpu: AssumedGpu = { shaderF16: true, maxBufferSize: 2 ** 32 }

/** Words of `--dtype`, all or by component, as `fromPretrained` takes them. @throws InputError `dtype` */
export function dtypeOption(values: readonly string[]): LoadPipelineOptions['dtype'] {
  const dtype = allOrNamed(values, 'dtype', 'one type for all, or types by component') as LoadPipelineOptions['dtype']
  checkDType(dtype)
  return dtype
}

/** Values like `webgpu=2GB`, all or by device, as `maxMemory` of `fromPretrained` takes them. @throws InputError `max-memory`, `bad-memory-size`, `bad-device` */
export function memoryOption(values: readonly string[]): LoadPipelineOptions['maxMemory'] {
  const sizes = allOrNamed(values, 'max-memory', 'one size for the GPU, or sizes by device')
  parseBudget(sizes)
  return sizes
}

/** Values like `unet=webgpu`, or `balanced`, as `deviceMap` takes them. @throws InputError `device-map`, `bad-device-map` */
export function deviceMapOption(values: readonly string[]): LoadPipelineOptions['deviceMap'] {
  const map: unknown = allOrNamed(values, 'device-map', "'balanced', or devices by component")
  checkDeviceMap(map)
  return map
}

/** One value for all, or an object of values by name. @throws InputError with the option's name for its code */
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

/** A device as plans see it: the assumed GPU, or the CPU. */
function describeDevice(name: DeviceName): PlannedDevice {
  const kind = name === 'wasm' ? 'wasm' : 'webgpu'
  const info = {
    name,
    kind,
    description: '',
    isFallbackAdapter: false,
    shaderF16: kind === 'webgpu' && assumedGpu.shaderF16,
    // Of the CPU: WebAssembly's heap.
    maxBufferSize: kind === 'webgpu' ? assumedGpu.maxBufferSize : 2 ** 32,
    capabilities: capabilitiesOf[kind],
  } as const
  return { info, writeOptions: (wanted) => ({ ...wanted, dtype: computeType(wanted.dtype, info), weights: 'input' }) }
}

/** Plans the networks of a pipeline for one image with guidance. @throws InputError `bad-device-map`, `dtype`, `size` */
export function planMemoryOf(networks: readonly Network[], request: MemoryRequest): PlannedMemory {
  const named = inDTypes(networks, request.dtype)
  const budget = parseBudget(request.maxMemory)
  const places = placesOf(request.deviceMap, [...named.keys()])
  const names = places === null ? balancedOver(budget) : [...new Set(places.values())]
  const devices = new Map(names.map((name) => [name, describeDevice(name)]))
  const plan = planNetworks({ devices, places, budget }, named, request)
  if (!isRefusal(plan)) return { assumedGpu, ...plan }
  if (plan.refused !== 'does-not-fit') throw refusalError(plan)
  const gpu = { devices: new Map([['webgpu', describeDevice('webgpu')]]), places: placesOf({}, [...named.keys()]) }
  const unlimited = orThrow(planNetworks({ ...gpu, budget: parseBudget(undefined) }, named, { ...request, offload: 'model' }))
  const { width, height, devices: plans } = unlimited
  return { assumedGpu, width, height, code: plan.refused, message: plan.message, needs: plans.webgpu?.components ?? [] }
}

/** The networks with the weights and the type that `--dtype` gives them. @throws InputError `dtype` */
function inDTypes(networks: readonly Network[], dtype: MemoryRequest['dtype']): ReadonlyMap<string, Network> {
  const dtypes = dtypesOf(dtype, networks)
  return new Map(
    networks.map((network): [string, Network] => {
      const { compute, quantization } = dtypes.get(network.name) ?? {}
      // A checkpoint that is quantised already stays as it is.
      if (quantization === undefined || network.quantization !== undefined) return [network.name, { ...network, dtype: compute }]
      const table = transformTable(network.table, quantizingTransforms(quantization))
      return [network.name, { ...network, table, dtype: compute, quantization }]
    }),
  )
}

/** The device of each network, or null where their needs decide. @throws InputError `bad-device-map` */
function placesOf(map: MemoryRequest['deviceMap'], networks: readonly string[]): ReadonlyMap<string, DeviceName> | null {
  if (map === 'balanced') return null
  checkMappedComponents(map ?? {}, networks)
  return new Map(networks.map((name) => [name, mappedDevice(map ?? {}, name) ?? 'webgpu']))
}

/** The devices that `balanced` shares out: those with a budget, or one GPU and the CPU. */
function balancedOver({ named }: Budget): readonly DeviceName[] {
  return named.size > 0 ? [...named.keys()] : ['webgpu', 'wasm']
}
