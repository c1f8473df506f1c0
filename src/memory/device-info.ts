/** Lists the devices and their capabilities, from which plans are made. Pure. */

/** `webgpu`: a GPU, or a software adapter. `wasm`: the CPU. */
export type DeviceKind = 'webgpu' | 'wasm'

/** A device by name: the GPU that the browser prefers, the CPU, and a second GPU beside the first. */
export type DeviceName = DeviceKind | 'webgpu:1'

/** The kind of each device that can be named. */
export const kindOf: Readonly<Record<DeviceName, DeviceKind>> = { webgpu: 'webgpu', 'webgpu:1': 'webgpu', wasm: 'wasm' }

/** All devices that can be named. */
export const deviceNames = Object.keys(kindOf) as readonly DeviceName[]

/** The capabilities of a kind of device, so that no code has to compare devices by name. */
export interface DeviceCapabilities {
  /** Whether it is much faster than a CPU: deviceMap `balanced` fills such devices first. */
  readonly isFast: boolean
  /** Whether a run can upload weights block by block, so that the device need not hold all weights at once. */
  readonly streamsWeights: boolean
  /** Whether its memory account counts what runs hold, or weights alone. */
  readonly countsActivations: boolean
  /** How graphs are cut into programs. A GPU compiles equal blocks once (`block`). On the CPU each session holds its own weights, so a component is one program. */
  readonly granularity: 'block' | 'component'
  /** How programs get weights: with each run, or copied into the session when it is made. */
  readonly weightsAs: 'input' | 'initializer'
  /** Whether onnxruntime computes GEGLU in one kernel on this kind of device: BiasSplitGelu. */
  readonly hasBiasSplitGelu: boolean
  /**
   * How many denoising steps may be submitted before the oldest of them has finished. While a GPU computes one step, the next one is
   * prepared; with more steps in flight, a cancel and the report of a value that is not finite would come later. On the CPU a step is
   * finished when its call returns.
   */
  readonly stepsInFlight: number
}

/** The capabilities of each kind of device. */
export const capabilitiesOf: Readonly<Record<DeviceKind, DeviceCapabilities>> = {
  webgpu: {
    isFast: true,
    streamsWeights: true,
    countsActivations: true,
    granularity: 'block',
    weightsAs: 'input',
    hasBiasSplitGelu: true,
    stepsInFlight: 2,
  },
  wasm: {
    isFast: false,
    streamsWeights: false,
    countsActivations: false,
    granularity: 'component',
    weightsAs: 'initializer',
    hasBiasSplitGelu: false,
    stepsInFlight: 1,
  },
}

/**
 * The float16 kernels of a GPU. `aquatint`: sums and intermediate values in float32, as exact as PyTorch's; `onnxruntime`: those of onnxruntime-web,
 * whose sums are in float16.
 */
export type KernelSource = 'aquatint' | 'onnxruntime'

/** The kernels of a device that Aquatint has changed or did not recognize, by name. On the CPU no kernel is changed. */
export interface KernelReport {
  /** Which kernels the device was opened with. */
  readonly source: KernelSource
  /**
   * Kernels compiled so far that Aquatint has changed: float16 kernels (they sum in float32), kernels that compute a variance, and kernels
   * that replace several of onnxruntime's.
   */
  readonly replaced: readonly string[]
  /** Kernels compiled so far that Aquatint should have changed but did not recognize: they run as onnxruntime wrote them. */
  readonly unrecognized: readonly string[]
}

/** A device and its capabilities, for people and for plans. */
export interface DeviceInfo {
  /** The device's name. */
  readonly name: DeviceName
  /** The device's kind. */
  readonly kind: DeviceKind
  /** Vendor and architecture as the adapter reports them, a short description if it reports neither, or `cpu` without a GPU. */
  readonly description: string
  /** Whether the adapter is a software one. */
  readonly isFallbackAdapter: boolean
  /** Whether it computes in float16. */
  readonly shaderF16: boolean
  /** The largest buffer that the device allows, in bytes. For `wasm`: the size of WebAssembly's heap. */
  readonly maxBufferSize: number
  /** The device's kernels that Aquatint has changed or did not recognize. */
  readonly kernels: KernelReport
  /** The capabilities of this kind of device. */
  readonly capabilities: DeviceCapabilities
}

/** The report of a device on which all of onnxruntime's kernels run unchanged. */
export const ownKernels: KernelReport = { source: 'onnxruntime', replaced: [], unrecognized: [] }

/** The type that networks compute in: float16 only if the device has it. onnxruntime's CPU kernels compute in float32 in any case. */
export function computeType(wanted: 'float32' | 'float16', { shaderF16 }: Pick<DeviceInfo, 'shaderF16'>): 'float32' | 'float16' {
  return shaderF16 ? wanted : 'float32'
}

/**
 * Whether a device's graphs of this type compute GEGLU in one kernel, BiasSplitGelu. onnxruntime's cache of compiled kernels does not distinguish the
 * types of this kernel, so a GPU that has float16 must not use it in float32 too.
 */
export function fusesGeglu(
  dtype: 'float32' | 'float16',
  { shaderF16, capabilities }: Pick<DeviceInfo, 'shaderF16' | 'capabilities'>,
): boolean {
  return capabilities.hasBiasSplitGelu && (dtype === 'float16' || !shaderF16)
}
